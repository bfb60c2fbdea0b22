#!lua flags=no-writes
-- window_read: reads one counter of a window and changes nothing.
-- KEYS    counter
-- ARGV    latest_start_s, earliest_end_s, now_ms
-- REPLY   OK now_s us used
-- REPLY   STALE now_s
-- ERRORS  CORRUPT
-- COST    TIME and a GET

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local counter, start_s, end_s, now_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

-- @include now
if now_s < start_s or now_s >= end_s then return 'STALE ' .. now_s end
local used = call('GET', counter) or '0'
if used ~= '0' and not find(used, '^-?[1-9]%d*$') then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. counter .. ' does not hold an integer')
end
-- @include integer
if not wide_add(used, '0', '') then return redis.error_reply('COSTGUARD_CORRUPT ' .. counter .. ' does not hold a 64-bit integer') end
return string.format('OK %s %s %s', now_s, us, used)
