-- What time it is, by the server or as `now_ms` says: `now_s`, a text of ten digits, and `us`, the microseconds into that
-- second. Windows begin and end on whole seconds and are compared as texts: to make a number of one costs as much as four
-- comparisons.
local now_s, us
if now_ms == '' then
  local time = call('TIME')
  now_s, us = time[1], time[2]
else
  now_s, us = string.sub(now_ms, 1, 10), string.sub(now_ms, 11) * 1000
end
