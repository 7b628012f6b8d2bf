-- The calls that Prosody's mod_auth_ldap makes of lualdap: one connection for the service account, on which it
-- searches, and a new one for the bind of each user, which is left to the garbage collector.
--
-- Reads lines of the generic line protocol until an empty one, and then writes all their answers.

local lualdap = require "lualdap"

local url, _, base, service_dn, service_password = table.unpack(arg)
local service = assert(lualdap.open_simple(url, service_dn, service_password, false))

local function escaped(text)
  return (text:gsub("[*()\\%z]", function(character) return ("\\%02x"):format(character:byte()) end))
end

local function find(user)
  local found, iterator, invariant, initial = pcall(service.search, service, {
    base = base,
    scope = "subtree",
    sizelimit = 1,
    filter = ("(uid=$user)"):gsub("%$(%a+)", { user = escaped(user) }),
  })
  return found and iterator(invariant, initial)
end

local function accepted(user, password)
  local dn = find(user)
  return dn and not not lualdap.open_simple(url, dn, password, false)
end

io.stdout:setvbuf("full")
for line in io.lines() do
  if line == "" then
    io.stdout:flush()
  else
    local user, password = line:match("^auth:([^:]*):[^:]*:(.*)$")
    io.stdout:write(accepted(user, password) and "1\n" or "0\n")
  end
end
