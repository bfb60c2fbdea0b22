#!lua flags=allow-oom
-- release: ends a hold and charges nothing.
-- KEYS    held..., hold, holds...
-- ARGV    receipt_ttl_ms
-- REPLY   RELEASED
-- REPLY   REPLAY reply
-- ERRORS  CORRUPT INVALID SETTLED UNKNOWN_HOLD
-- COST    a GET, an MGET, a SET, and a counter an HGET, a DECRBY and an HINCRBY

-- @include problem
-- @include hold
-- @include free
local count, receipt_ttl_ms = (#KEYS - 1) / 2, ARGV[1]
local key, holds = KEYS[count + 1], count + 1

local hold, err = read_hold(key)
if not hold then return err end
if hold.state == 'released' then return 'REPLAY RELEASED' end
if hold.state ~= 'open' then return problem('SETTLED', 'this hold was settled; adjust the counter to give money back') end
local held = read_amounts(hold, 1, count, ':held')
if not held then return problem('INVALID', 'these are not the keys of the hold') end
if not string.find(receipt_ttl_ms, '^[1-9]%d*$') then return problem('INVALID', 'receipt_ttl_ms') end
local texts = redis.call('MGET', unpack(KEYS, 1, count))
for i = 1, count do
  if texts[i] and not string.find(texts[i], '^%d+$') then
    return problem('CORRUPT', KEYS[i] .. ' does not hold an amount')
  end
end
local kept, err = look_held(holds, count, hold.bucket_ms)
if not kept then return err end

for i = 1, count do free_held(0, holds, i, hold.bucket_ms, held[i], kept[i], texts[i]) end
hold.state = 'released'
write_hold(key, hold, hold.rest .. ' | RELEASED', receipt_ttl_ms)
return 'RELEASED'
