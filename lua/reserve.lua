#!lua
-- reserve: sets amounts aside beside counters until they are settled, released or expire, if every limit allows it.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., now_ms, touch, ttl_ms, width_ms, record_ttl_ms, fingerprint, tags
-- REPLY   GRANTED expires_ms amount used... [held...]
-- REPLY   DENIED now_ms refusing used... [held... frees_ms...]
-- REPLY   HELD record
-- REPLY   STALE now_ms
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, a GET, one MGET and an HGET, an INCRBY and an HINCRBY a counter, a SET; an HGETALL where holds make a limit bind

-- Amounts and limits are as in admit; `used` and `held` are from before the request. The amount `rest` stands for all that
-- is left of the tightest limit it is asked of, and `amount` in the reply for what that was, else '-'. HELD answers a repeat
-- of the request. A hold lies in the bucket of `width_ms` that ends at or after its expiry: it frees late, never early.

-- @include problem
-- @include integer
local call, find = redis.call, string.find
local latest_start_ms, earliest_end_ms, count = ARGV[1], ARGV[2], (#KEYS - 1) / 3
local hold, holds = KEYS[2 * count + 1], 2 * count + 1
local now_ms, touch, ttl_ms, width_ms, record_ttl_ms, fingerprint, tags = unpack(ARGV, 3 + 3 * count)

local record = call('GET', hold)
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
local expires_ms, width = now + ttl_ms, width_ms + 0
local bucket_ms = expires_ms + width - 1
bucket_ms = string.format('%.0f', bucket_ms - bucket_ms % width)
if not find(record_ttl_ms, '^[1-9]%d*$') or not find(fingerprint, '^[^ ]+$') or not find(tags, '^[^ ]+$') then
  return problem('INVALID', 'record_ttl_ms, fingerprint or tags')
end

local rest = '-'
for i = 1, count do
  if ARGV[3 * i] == 'rest' then
    -- @include rest
    local err
    rest, err = fill_rest(count, now)
    if err then return err end
    break
  end
end
-- @include decide
local kept = {}
for i = 1, count do
  if not texts[count + i] and call('EXISTS', KEYS[count + i]) == 1 then
    return problem('CORRUPT', KEYS[count + i] .. ' does not hold an amount')
  end
  kept[i] = call('HGET', KEYS[holds + i], bucket_ms)
  if kept[i] and not find(kept[i], '^%d+$') then
    return problem('CORRUPT', KEYS[holds + i] .. ' does not hold amounts by time')
  end
end

local entries = {}
for i = 1, count do
  local counter, amount, expiry, limit = KEYS[i], ARGV[3 * i], ARGV[1 + 3 * i], ARGV[2 + 3 * i]
  if expired and expired[i] and #expired[i][2] > 0 then
    call('HDEL', KEYS[holds + i], unpack(expired[i][2]))
    call('DECRBY', KEYS[count + i], expired[i][1])
  end
  call('INCRBY', KEYS[count + i], amount)
  call('HINCRBY', KEYS[holds + i], bucket_ms, amount)
  if touch ~= '' or not kept[i] or texts[i] == '0' then
    -- @include expiry
    -- The counter is made now, so that it has its TTL when the hold is settled into it.
    if texts[i] == '0' then call('INCRBY', counter, '0') end
    expire(counter, expiry, texts[i] == '0', now_ms)
    expire(KEYS[count + i], expiry, true, now_ms)
    expire(KEYS[holds + i], expiry, true, now_ms)
  end
  entries[i] = counter .. ' ' .. amount .. ' ' .. (limit == '' and '-' or limit)
end
record = { 'open', fingerprint, 0, now, expires_ms, bucket_ms, tags, table.concat(entries, ' ') }
call('SET', hold, table.concat(record, ' '), 'PX', record_ttl_ms)
return 'GRANTED ' .. expires_ms .. ' ' .. rest .. ' ' .. table.concat(texts, ' ', 1, holding and 2 * count or count)
