#!lua
-- extend: lets a hold that is still open end later.
-- KEYS    hold, holds..., held...
-- ARGV    record, ttl_ms, width_ms, record_ttl_ms, now_ms, held...
-- REPLY   EXTENDED record
-- REPLY   CHANGED record
-- ERRORS  CORRUPT EXPIRED INVALID RELEASED SETTLED UNKNOWN_HOLD
-- COST    GET, TIME, PTTL, SET, and two HGET, two HINCRBY and two PTTL a counter

-- The hold ends `ttl_ms` from now, not earlier than before. The reply is its line after that.

-- @include integer
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local hold, count = KEYS[1], (#KEYS - 1) / 2
local known, ttl_ms, width_ms, record_ttl_ms, now_ms = unpack(ARGV, 1, 5)

local record = call('GET', hold)
if record ~= known or not find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, 'extend')
end
if not find(record_ttl_ms, '^[1-9]%d*$') or #record_ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID record_ttl_ms') end
local head, from_s, from_us, was_ttl_ms, was_bucket_ms, tail = string.match(record, '^(open %S+ (%d+) (%d+)) (%d+) (%d+) (.*)$')
local from_ms = from_s * 1000 + (from_us - from_us % 1000) / 1000
local now = now_ms ~= '' and now_ms + 0
if not now then
  local time = call('TIME')
  local us = time[1] * 1e6 + time[2]
  now = (us - us % 1000) / 1000
end
if now >= from_ms + was_ttl_ms then return redis.error_reply('COSTGUARD_EXPIRED this hold has expired; reserve anew') end
local expires_ms = math.max(now + ttl_ms, from_ms + was_ttl_ms)
local bucket_ms = expires_ms + width_ms - 1
-- Not into an earlier bucket, of a smaller width: `next` says that none ends before the one it lies in.
bucket_ms = string.format('%013d', math.max(bucket_ms - bucket_ms % width_ms, was_bucket_ms))

for i = 1, count do
  local kept, later = call('HGET', KEYS[1 + i], was_bucket_ms), call('HGET', KEYS[1 + i], bucket_ms)
  -- A bucket that came to nothing is taken away, also from under a hold of nothing.
  if not kept and ARGV[5 + i] == '0' then kept = '0' end
  if not kept then return redis.error_reply('COSTGUARD_EXPIRED this hold has expired; reserve anew') end
  if not find(kept, '^%d+$') or (later and not find(later, '^%d+$')) or not find(ARGV[5 + i], '^%d+$') then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[1 + i] .. ' does not hold amounts by time')
  end
  -- Its part was lost with an evicted key, and others have come to the same bucket since.
  local left = wide_add(kept, '-' .. ARGV[5 + i], '')
  if not left or find(left, '^-[1-9]') then return redis.error_reply('COSTGUARD_EXPIRED this hold was lost with an evicted key; reserve anew') end
  if later and bucket_ms ~= was_bucket_ms and not wide_add(later, ARGV[5 + i], '') then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[1 + i] .. ' would hold more than 64 bits')
  end
end
-- What is held lives as long as any hold in this bucket, whenever its window ends.
local keep_ms = string.format('%d', bucket_ms - now + record_ttl_ms - ttl_ms)
-- Nor is the hold forgotten earlier: what is left may be more than this asks for.
record_ttl_ms = string.format('%d', math.max(call('PTTL', hold), record_ttl_ms))
for i = 1, bucket_ms == was_bucket_ms and 0 or count do
  -- The new bucket first: a hash that became empty would lose its TTL.
  call('HINCRBY', KEYS[1 + i], bucket_ms, ARGV[5 + i])
  local amount = ARGV[5 + i] == '0' and '0' or '-' .. ARGV[5 + i]
  if call('HINCRBY', KEYS[1 + i], was_bucket_ms, amount) == 0 then call('HDEL', KEYS[1 + i], was_bucket_ms) end
end
for i = 2, #KEYS do
  if call('PTTL', KEYS[i]) < keep_ms + 0 then call('PEXPIRE', KEYS[i], keep_ms) end
end
record = head .. string.format(' %d ', expires_ms - from_ms) .. bucket_ms .. ' ' .. tail
call('SET', hold, record, 'PX', record_ttl_ms)
return 'EXTENDED ' .. record
