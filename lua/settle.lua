#!lua flags=allow-oom
-- settle: ends a hold and charges what it really came to, in full, in the windows in which it was reserved.
-- KEYS    counter..., held..., hold, holds...
-- ARGV    record, bucket_ms, expires_ms, receipt_ttl_ms, as, now_ms, held..., amount...
-- REPLY   SETTLED late used...
-- REPLY   REPLAY reply
-- REPLY   CHANGED record
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW RELEASED UNKNOWN_HOLD
-- COST    GET, TIME, SET, and an INCRBY, a DECRBY and an HINCRBY a counter

-- `record` is the hold's line as the caller knows it, `bucket_ms`, `expires_ms` and `held` what it says. `as` is the
-- amounts in one word, by which a repeat is told from another settlement. `late` is 1 when the hold had expired.
-- allow-oom: a full server still frees what is held.

-- @include problem
-- @include unhold
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count = (#KEYS - 1) / 3
local hold, holds = KEYS[2 * count + 1], 2 * count + 1
local known, bucket_ms, expires_ms, receipt_ttl_ms, as, now_ms = unpack(ARGV, 1, 6)

local record = call('GET', hold)
if record ~= known or not find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, as)
end
if not find(as, '^%d[%d,]*$') or not find(receipt_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'as or receipt_ttl_ms') end
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0

local reply, done, made, err = now >= expires_ms + 0 and 'SETTLED 1' or 'SETTLED 0', 0, nil, nil
for i = 1, count do
  local counter, amount = KEYS[i], ARGV[6 + count + i]
  if amount ~= '0' and not find(amount, '^[1-9]%d*$') then
    err = problem('INVALID', 'amount ' .. i)
    break
  end
  local used = redis.pcall('INCRBY', counter, amount)
  if type(used) == 'table' then
    local overflow = find(used.err, 'overflow', 1, true)
    err = problem(overflow and 'OVERFLOW' or 'CORRUPT', counter .. ' cannot take the amount as a 64-bit integer')
    break
  end
  -- A counter that was gone by now lives as long as the receipt.
  if used == amount + 0 and call('PTTL', counter) == -1 then
    call('PEXPIRE', counter, receipt_ttl_ms)
    made = made or {}
    made[i] = true
  end
  reply = reply .. ' ' .. (used < 1e14 and used > -1e14 and used or call('GET', counter))
  done = i
end
err = err or unhold(count, holds, 6, count, bucket_ms)
if err then
  for i = 1, done do
    if call('DECRBY', KEYS[i], ARGV[6 + count + i]) == 0 and made and made[i] then call('DEL', KEYS[i]) end
  end
  return err
end
call('SET', hold, 'settled' .. string.sub(record, 5) .. ' | ' .. as .. ' ' .. reply, 'PX', receipt_ttl_ms)
return reply
