-- Runs a command as Prosody's mod_auth_external does (blocking mode, generic protocol), with the real lpty.
--
-- Its standard input has one order a line, its standard output one line for each:
--   new PATH           a terminal for the command PATH; what ran on the one before is hung up
--   start              starts the command, if it does not run and may be started
--   ask SECONDS HEX    starts likewise, sends the question that HEX stands for, and waits for the answer
--   running            whether the command runs
--   distract SECONDS   has another child process, which ends after that time: the signal interrupts whatever waits then
--
-- The answers are "ok", "yes", "no", "accepted", "refused", "silent", "refusing to start", and "other HEX" for what
-- Prosody would make no sense of.

local lpty = require "lpty"

local pty, command, distraction

local function decoded(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function encoded(text)
  return (text:gsub(".", function(character) return ("%02x"):format(character:byte()) end))
end

-- After another end than with status 0 the module never starts its command again.
local function start()
  if pty:hasproc() then
    return true
  end
  local status, code = pty:exitstatus()
  if status and (status ~= "exit" or code ~= 0) then
    return false
  end
  return pty:startproc(command)
end

local function verdict(response)
  if not response or response == "" then
    return "silent"
  end
  local text = response:gsub("\r?\n$", "")
  return text == "1" and "accepted" or text == "0" and "refused" or "other " .. encoded(response)
end

local orders = {}

function orders.new(path)
  pty, command = lpty.new { throw_errors = false, no_local_echo = true, use_path = false }, path
  collectgarbage() -- lets go of the terminal before
  return "ok"
end

function orders.start()
  return start() and "ok" or "refusing to start"
end

function orders.ask(arguments)
  local seconds, question = arguments:match("^(%S+) (%x+)$")
  if not start() then
    return "refusing to start"
  end
  pty:send(decoded(question))
  return verdict(pty:read(tonumber(seconds)))
end

function orders.distract(seconds)
  distraction = lpty.new { throw_errors = false, no_local_echo = true, use_path = true }
  distraction:startproc("sleep", seconds)
  return "ok"
end

function orders.running()
  return pty:hasproc() and "yes" or "no"
end

io.stdout:setvbuf("line")
while true do
  local line, interrupted = io.stdin:read() -- the end of a command interrupts
  if line then
    local name, arguments = line:match("^(%a+) ?(.*)$")
    print(orders[name](arguments))
  elseif not interrupted then
    break
  end
end
