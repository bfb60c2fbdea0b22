#!lua
-- window_add: adds to one counter of a window and sets its TTL with the first amount.
-- KEYS    counter
-- ARGV    latest_start_s, earliest_end_s, amount, ttl_ms, now_ms
-- REPLY   OK now_s us used
-- REPLY   STALE now_s
-- ERRORS  CORRUPT INVALID OVERFLOW
-- COST    TIME, PTTL and INCRBY, a PEXPIRE with the first amount

-- An empty `ttl_ms` is until the window ends. A counter found without a TTL gets one.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local counter, start_s, end_s, amount, ttl_ms, now_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- @include now
if now_s < start_s or now_s >= end_s then return 'STALE ' .. now_s end
if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID amount') end
-- @include window_ttl

local left_ms = call('PTTL', counter)
local used = redis.pcall('INCRBY', counter, amount)
if type(used) == 'table' then
  -- @include refused
  return refused(used, counter, 'an integer')
end
if left_ms < 0 then call('PEXPIRE', counter, ttl_ms) end
if used >= 1e14 or used <= -1e14 then used = call('GET', counter) end
return string.format('OK %s %s %s', now_s, us, used)
