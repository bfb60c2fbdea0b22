#!lua
-- window_start: counts one more on a counter of a window if that keeps to its limit and another counter is below its cap.
-- KEYS    counter, [spent]
-- ARGV    latest_start_s, earliest_end_s, limit, ttl_ms, now_ms, [cap]
-- REPLY   GRANTED now_s us used [spent]
-- REPLY   DENIED now_s us used [spent]
-- REPLY   STALE now_s
-- ERRORS  CORRUPT INVALID
-- COST    TIME, an MGET and, where granted, PTTL and INCRBY, a PEXPIRE with the first

-- `used` counts the start that was granted. `spent` is only read: what a start costs is added when it is known. An empty
-- `ttl_ms` is until the window ends.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local counter, start_s, end_s, limit, ttl_ms, now_ms, cap = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

-- @include now
if now_s < start_s or now_s >= end_s then return 'STALE ' .. now_s end
for i = 3, 6, 3 do
  local most = ARGV[i] or '0'
  if most ~= '0' and not find(most, '^[1-9]%d*$') or #most > 19 then return redis.error_reply('COSTGUARD_INVALID limit') end
end
-- @include window_ttl
-- @include integer

local texts = call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  -- MGET passes over a key of another type as if it were not there.
  if not texts[i] and call('EXISTS', KEYS[i]) == 0 then texts[i] = '0' end
  local text = texts[i]
  if not text or text ~= '0' and not find(text, '^-?[1-9]%d*$') or not wide_add(text, '0', '') then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold a 64-bit integer')
  end
end

local used, fits = wide_add(texts[1], '1', limit)
if fits and cap then
  -- Below the cap: one more would still keep to it.
  local _, below = wide_add(texts[2], '1', cap)
  fits = below
end
if not fits or not used then return table.concat({ 'DENIED', now_s, us, texts[1], texts[2] }, ' ') end
local left_ms = call('PTTL', counter)
call('INCRBY', counter, '1')
if left_ms < 0 then call('PEXPIRE', counter, ttl_ms) end
return table.concat({ 'GRANTED', now_s, us, used, texts[2] }, ' ')
