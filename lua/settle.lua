#!lua flags=allow-oom
-- settle: ends a hold and charges what it really came to, in full, in the windows in which it was reserved.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    amount..., fingerprint, receipt_ttl_ms, now_ms
-- REPLY   SETTLED late used...
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW RELEASED UNKNOWN_HOLD
-- COST    a GET, a TIME, an MGET, a SET, and a counter an HGET, an INCRBY, a DECRBY and an HINCRBY

-- `late` is 1 when the hold had expired. allow-oom: a full server still frees what is held.

-- @include problem
-- @include integer
-- @include hold
-- @include free
local call, find = redis.call, string.find
local count = (#KEYS - 1) / 3
local key, holds = KEYS[2 * count + 1], 2 * count + 1
local fingerprint, receipt_ttl_ms, now_ms = ARGV[count + 1], ARGV[count + 2], ARGV[count + 3]

local hold, err = read_hold(key)
if not hold then return err end
if hold.state == 'settled' then
  local settled_as, reply = string.match(hold.rest, ' | (%S+) (.*)$')
  if settled_as == fingerprint then return 'REPLAY ' .. reply end
  return problem('CONFLICT', 'this hold was settled with another amount')
elseif hold.state ~= 'open' then
  return problem('RELEASED', 'this hold was released; charge what was spent')
end
local held = read_amounts(hold, 1, count, '')
if not held then return problem('INVALID', 'these are not the keys of the hold') end
if not find(fingerprint, '^[^ ]+$') or not find(receipt_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'receipt') end
local now = now_ms ~= '' and now_ms + 0
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + time[2] / 1000
end

local texts = call('MGET', unpack(KEYS, 1, 2 * count))
for i = 1, count do
  local text, amount = texts[i], ARGV[i]
  if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return problem('INVALID', 'amount ' .. i) end
  -- MGET passes over a key of another type as if it were not there.
  if not text and call('EXISTS', KEYS[i]) == 0 then text = '0' end
  if text ~= '0' and not (text and find(text, '^-?[1-9]%d*$')) then
    return problem('CORRUPT', KEYS[i] .. ' does not hold an integer')
  end
  if (#text > 14 or #amount > 14) and not wide_add(text, amount, '') then
    return problem('OVERFLOW', KEYS[i] .. ' would leave the 64-bit range')
  end
  if texts[count + i] and not find(texts[count + i], '^%d+$') then
    return problem('CORRUPT', KEYS[count + i] .. ' does not hold an amount')
  end
end
local kept, err = look_held(holds, count, hold.bucket_ms)
if not kept then return err end

local reply = now >= hold.expires_ms + 0 and 'SETTLED 1' or 'SETTLED 0'
for i = 1, count do
  local counter, amount = KEYS[i], ARGV[i]
  local used = call('INCRBY', counter, amount)
  -- A counter that was gone lives on as long as the receipt.
  if not texts[i] then call('PEXPIRE', counter, receipt_ttl_ms) end
  reply = reply .. ' ' .. (used < 1e14 and used or call('GET', counter))
  free_held(count, holds, i, hold.bucket_ms, held[i], kept[i], texts[count + i])
end
hold.state = 'settled'
write_hold(key, hold, hold.rest .. ' | ' .. fingerprint .. ' ' .. reply, receipt_ttl_ms)
return reply
