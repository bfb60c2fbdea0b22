#!lua
-- grow: sets more aside for a hold that is still open, if every limit allows it.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    record, record_ttl_ms, (amount, expiry, limit)..., now_ms, tail
-- REPLY   GRANTED record
-- REPLY   DENIED now_ms refusing used... [held... frees_ms...]
-- REPLY   CHANGED record
-- ERRORS  CORRUPT EXPIRED INVALID OVERFLOW RELEASED SETTLED UNKNOWN_HOLD
-- COST    as reserve

-- `amount` is how much more, `tail` the end of the hold's line with that in it. A repeat finds the line CHANGED, its step one
-- up. The windows are those in which the hold was reserved, be they over.

-- @include problem
-- @include integer
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, touch = (#KEYS - 1) / 3, '1'
local hold, holds, known, record_ttl_ms = KEYS[2 * count + 1], 2 * count + 1, ARGV[1], ARGV[2]
local now_ms, tail = unpack(ARGV, 3 + 3 * count)

local record = call('GET', hold)
if record ~= known or not find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, 'grow')
end
if not find(record_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'record_ttl_ms') end
local fingerprint, step, reserved_ms, expires_ms, bucket_ms = string.match(record, '^open (%S+) (%d+) (%d+) (%d+) (%d+) ')
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
for i = 1, count do
  local kept = call('HGET', KEYS[holds + i], bucket_ms)
  if not kept then
    -- A bucket that came to nothing is taken away, also from under a hold of nothing.
    local place = 0
    for held in string.gmatch(string.match(record, '^%l+ %S+ %d+ %d+ %d+ %d+ %S+(.*)$'), ' %S+ (%S+) %S+') do
      place = place + 1
      if place == i and held == '0' then kept = '0' end
    end
  end
  if now >= expires_ms + 0 or not kept then return problem('EXPIRED', 'this hold has expired; reserve anew') end
  if not find(kept, '^%d+$') then return problem('CORRUPT', KEYS[holds + i] .. ' does not hold amounts by time') end
end

local texts = call('MGET', unpack(KEYS, 1, 2 * count))
for i = 1, count do
  -- MGET passes over a key of another type as if it were not there.
  if not texts[count + i] and call('EXISTS', KEYS[count + i]) == 1 then
    return problem('CORRUPT', KEYS[count + i] .. ' does not hold an amount')
  end
end
-- @include decide
for i = 1, count do
  -- A total that was lost with an evicted key is made anew, to live as long as what it is the total of.
  if call('INCRBY', KEYS[count + i], ARGV[3 * i]) == ARGV[3 * i] + 0 and call('PTTL', KEYS[count + i]) == -1 then
    call('PEXPIRE', KEYS[count + i], math.max(call('PTTL', KEYS[holds + i]), record_ttl_ms))
  end
  if call('HINCRBY', KEYS[holds + i], bucket_ms, ARGV[3 * i]) == ARGV[3 * i] + 0 then
    local next_ms = tonumber(call('HGET', KEYS[holds + i], 'next') or '')
    if not next_ms or next_ms > bucket_ms + 0 then call('HSET', KEYS[holds + i], 'next', bucket_ms) end
  end
end
record = table.concat({ 'open', fingerprint, step + 1, reserved_ms, expires_ms, bucket_ms, tail }, ' ')
call('SET', hold, record, 'PX', record_ttl_ms)
return 'GRANTED ' .. record
