#!lua
-- admit: adds amounts to counters if every limit allows it, to all of them or to none.
-- KEYS    counter..., held..., [receipt], holds...
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., [now_ms, touch, receipt_ttl_ms, fingerprint]
-- REPLY   GRANTED used... [held...]
-- REPLY   DENIED now_ms refusing used... [held... frees_ms...]
-- REPLY   STALE now_ms
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, one MGET, when granted an INCRBY a counter; an HGET where holds make a limit bind, an HGETALL when some have ended; with an id a SET

-- `used` and `held` are from before the request. `limit` is empty for a counter that only counts. `refusing` names the limits that refuse by position: '1,3'. `frees_ms`
-- is when the next holds expire and more may come free, -1 when that does not help. A denial takes nothing and leaves no
-- receipt: the same id may be tried again. What is held is left out where nothing is.

-- @include problem
-- @include integer
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local latest_start_ms, earliest_end_ms, count = ARGV[1], ARGV[2], (#KEYS - #KEYS % 3) / 3
local now_ms, touch, receipt_ttl_ms, fingerprint, receipt = '', '', '', '', nil
if #ARGV > 2 + 3 * count then
  now_ms, touch, receipt_ttl_ms, fingerprint = unpack(ARGV, #ARGV - 3)
  receipt = #KEYS > 3 * count and KEYS[2 * count + 1]
end

local texts = call('MGET', unpack(KEYS, 1, #KEYS - count))
if receipt then
  -- @include receipt
  local answered = replayed(texts[2 * count + 1], fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return 'STALE ' .. now end

-- @include decide
local reply = 'GRANTED ' .. table.concat(texts, ' ', 1, holding and 2 * count or count)
-- First, and only where nothing is: MGET passes over a key of another type as if it were not there.
if receipt and not call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms, 'NX') then
  return problem('CORRUPT', receipt .. ' does not hold a receipt')
end
for i = 1, count do
  local key, first = KEYS[i], texts[i] == '0'
  call('INCRBY', key, ARGV[3 * i])
  if first or touch ~= '' then
    -- @include expiry
    expire(key, ARGV[1 + 3 * i], first, now_ms)
  end
end
return reply
