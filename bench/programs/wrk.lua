-- For wrk: asks for the right passwords of random people, and counts the answers that are not `true`.
-- Arguments: how many people there are, the formats of their names and passwords, the domain, the credentials in base64.

local threads = {}
local people, user, password, domain

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  people, user, password, domain = tonumber(arguments[1]), arguments[2], arguments[3], arguments[4]
  wrk.headers["Authorization"] = "Basic " .. arguments[5]
  wrong = 0
  math.randomseed(os.time())
end

function request()
  local number = math.random(0, people - 1)
  return wrk.format("GET", "/check_password?user=" .. user:format(number) .. "&server=" .. domain
    .. "&pass=" .. password:format(number))
end

function response(_, _, body)
  if body ~= "true" then
    wrong = wrong + 1
  end
end

-- The last line is: answers, microseconds, wrong answers and failures.
function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("wrong")
  end
  io.write(("%d %d %d\n"):format(summary.requests, summary.duration, failed))
end
