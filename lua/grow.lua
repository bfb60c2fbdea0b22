#!lua
-- grow: sets more aside for a hold that is still open, if every limit allows it.
-- KEYS    counter..., held..., state..., hold, holds...
-- ARGV    counters, record, record_ttl_ms, expiries, (amount, limit)..., (amount, limit, span_us, how)..., now_ms, nonce, tail
-- REPLY   GRANTED record
-- REPLY   DENIED now_s us refusing (state)... used... [held... frees_ms...]
-- REPLY   CHANGED record
-- ERRORS  CORRUPT EXPIRED INVALID OVERFLOW RELEASED SETTLED UNKNOWN_HOLD
-- COST    as reserve

-- `amount` is how much more, `tail` the end of the hold's line with that in it. A repeat finds the line CHANGED, and its `nonce`
-- in it: STEP names the last four requests by which the hold grew, the newest first, '0' before the first of all. The windows are
-- those in which the hold was reserved, be they over, and the limits as they were then.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, known, record_ttl_ms, expiries, amounts, reserving, touch = #ARGV[1], ARGV[2], ARGV[3], ARGV[4], 4, true, ''
local states, ruling, blocked = (#ARGV - 7 - 2 * count) / 4, '', nil
local hold, holds, now_ms, nonce, tail = KEYS[2 * count + states + 1], 2 * count + states + 1, unpack(ARGV, #ARGV - 2)

local record = call('GET', hold)
if record ~= known or not find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, 'grow')
end
if not find(record_ttl_ms, '^[1-9]%d*$') or #record_ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID record_ttl_ms') end
if #nonce ~= 32 or find(nonce, '%X') then return redis.error_reply('COSTGUARD_INVALID nonce') end
local step, from_s, from_us, ttl_ms, bucket_ms, fingerprint = string.match(record, '^open (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) ')
-- @include now
if now_s * 1000 + us / 1000 >= from_s * 1000 + (from_us - from_us % 1000) / 1000 + ttl_ms then return redis.error_reply('COSTGUARD_EXPIRED this hold has expired; reserve anew') end
for i = 1, count do
  local kept = call('HGET', KEYS[holds + i], bucket_ms)
  if not kept then
    -- A bucket that came to nothing is taken away, also from under a hold of nothing.
    for counter, held in string.gmatch(string.match(record, '^open %S+ %d+ %d+ %d+ %d+ %S+ %S+(.*)$'), ' (%S+) (%S+) %S+') do
      if counter == KEYS[i] and held == '0' then kept = '0' end
    end
  end
  if not kept then return redis.error_reply('COSTGUARD_EXPIRED this hold has expired; reserve anew') end
  if not find(kept, '^%d+$') then return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[holds + i] .. ' does not hold amounts by time') end
end

local texts = call('MGET', unpack(KEYS, 1, 2 * count + states))
-- @include decide
for i = 1, count do
  local amount = ARGV[amounts + 2 * i - 1]
  -- A total that was lost with an evicted key is made anew, to live as long as what it is the total of.
  if call('INCRBY', KEYS[count + i], amount) == amount + 0 and call('PTTL', KEYS[count + i]) == -1 then
    call('PEXPIRE', KEYS[count + i], string.format('%d', math.max(call('PTTL', KEYS[holds + i]), record_ttl_ms)))
  end
  if call('HINCRBY', KEYS[holds + i], bucket_ms, amount) == amount + 0 then
    if call('PTTL', KEYS[holds + i]) == -1 then call('PEXPIRE', KEYS[holds + i], record_ttl_ms) end
    local next_ms = tonumber(call('HGET', KEYS[holds + i], 'next') or '')
    if not next_ms or next_ms > bucket_ms + 0 or next_ms == -1 then call('HSET', KEYS[holds + i], 'next', bucket_ms) end
  end
end
if states > 0 then
  -- @include take
end
step = string.sub(nonce .. '.' .. step, 1, 131)
record = table.concat({ 'open', step, from_s, from_us, ttl_ms, bucket_ms, fingerprint, tail }, ' ')
call('SET', hold, record, 'PX', record_ttl_ms)
return 'GRANTED ' .. record
