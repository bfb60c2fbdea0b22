#!lua
-- reserve: sets amounts aside beside counters until they are settled, released or expire, if every limit allows it.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., ttl_ms, width_ms, record_ttl_ms, fingerprint, tail, [now_ms, touch]
-- REPLY   GRANTED reserved_ms expires_ms bucket_ms rest used... [held...]
-- REPLY   DENIED now_ms refusing used... [held... frees_ms...]
-- REPLY   HELD record
-- REPLY   STALE now_ms
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, SET, one MGET and an INCRBY and an HINCRBY a counter; where holds make a limit bind as admit

-- Amounts and limits are as in admit; `used` and `held` are from before the request. The record of a hold is a line,
-- 'open FINGERPRINT STEP RESERVED_MS EXPIRES_MS BUCKET_MS TAIL'; the tail is its tags and 'COUNTER AMOUNT LIMIT' a counter.
-- HELD answers a repeat of the request with the record. The amount `rest` stands for all that is left of the tightest limit
-- it is asked of, and `rest` in the reply for what that was, else '-'.
-- A hold lies in the bucket of `width_ms` that ends at or after its expiry: it frees late, never early.

-- @include problem
-- @include integer
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local latest_start_ms, earliest_end_ms, count = ARGV[1], ARGV[2], (#KEYS - 1) / 3
local hold, holds = KEYS[2 * count + 1], 2 * count + 1
local ttl_ms, width_ms, record_ttl_ms, fingerprint, tail, now_ms, touch = unpack(ARGV, 3 + 3 * count)
now_ms, touch = now_ms or '', touch or ''

local texts = call('MGET', unpack(KEYS, 1, 2 * count + 1))
local record = texts[2 * count + 1]
if record then
  if string.match(record, '^%l+ (%S+)') == fingerprint then return 'HELD ' .. record end
  return problem('CONFLICT', 'this hold id was used for a different request; use a new id')
end
local now = now_ms
if now_ms == '' then
  local time = call('TIME')
  local us = time[1] * 1e6 + time[2]
  now = (us - us % 1000) / 1000
else
  now = now_ms + 0
end
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return 'STALE ' .. now end
local expires_ms, rest = now + ttl_ms, '-'
local bucket_ms = expires_ms + width_ms - 1
bucket_ms = string.format('%d', bucket_ms - bucket_ms % width_ms)

for i = 1, count do
  if ARGV[3 * i] == 'rest' then
    -- @include rest
    local err
    rest, err = fill_rest(texts, count, now)
    if err then return err end
    tail = string.gsub(tail, ' rest ', ' ' .. rest .. ' ')
    break
  end
end
-- MGET passes over a key of another type as if it were not there.
for i = 1, count do
  if not texts[count + i] and call('EXISTS', KEYS[count + i]) == 1 then
    return problem('CORRUPT', KEYS[count + i] .. ' does not hold an amount')
  end
end
-- @include decide

-- From here on it is written; what can still fail comes first, and is taken back when it does.
local times, try, type = string.format('%d %d %s ', now, expires_ms, bucket_ms), redis.pcall, type
if not call('SET', hold, 'open ' .. fingerprint .. ' 0 ' .. times .. tail, 'PX', record_ttl_ms, 'NX') then
  return problem('CORRUPT', hold .. ' does not hold a hold')
end
local kept = { nil, nil, nil, nil }
for i = 1, count do
  kept[i] = try('HINCRBY', KEYS[holds + i], bucket_ms, ARGV[3 * i])
  if type(kept[i]) == 'table' then
    for j = 1, i - 1 do
      local amount = ARGV[3 * j] == '0' and '0' or '-' .. ARGV[3 * j]
      if call('HINCRBY', KEYS[holds + j], bucket_ms, amount) == 0 then call('HDEL', KEYS[holds + j], bucket_ms) end
    end
    call('DEL', hold)
    return problem('CORRUPT', KEYS[holds + i] .. ' does not hold amounts by time')
  end
end
for i = 1, count do
  local counter, amount, expiry = KEYS[i], ARGV[3 * i], ARGV[1 + 3 * i]
  call('INCRBY', KEYS[count + i], amount)
  if fresh or touch ~= '' or kept[i] == amount + 0 then
    -- @include expiry
    -- The counter is made now, so that it has its TTL when the hold is settled into it.
    if fresh then call('INCRBY', counter, '0') end
    expire(counter, expiry, fresh, now_ms)
    expire(KEYS[count + i], expiry, true, now_ms)
    local next_ms = call('HGET', KEYS[holds + i], 'next')
    if not next_ms or bucket_ms + 0 < (tonumber(next_ms) or 9e15) or next_ms == '-1' then
      call('HSET', KEYS[holds + i], 'next', bucket_ms)
    end
    expire(KEYS[holds + i], expiry, true, now_ms)
  end
end
return 'GRANTED ' .. times .. rest .. ' ' .. table.concat(texts, ' ', 1, holding and 2 * count or count)
