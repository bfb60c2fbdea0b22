#!lua
-- charge: adds amounts to counters, whatever their limits.
-- KEYS    counter..., [receipt]
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry)..., [now_ms, touch, receipt_ttl_ms, fingerprint]
-- REPLY   OK used...
-- REPLY   STALE now_ms
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME and an INCRBY a counter, from two counters on an MGET; with an id a GET and a SET

-- @include problem
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local latest_start_ms, earliest_end_ms = ARGV[1], ARGV[2]
local counters, now_ms, touch, receipt_ttl_ms, fingerprint = (#ARGV - 2) / 2, '', '', '', ''
if counters ~= #KEYS then
  counters = (#ARGV - 6) / 2
  now_ms, touch, receipt_ttl_ms, fingerprint = unpack(ARGV, #ARGV - 3)
end
local receipt = KEYS[counters + 1]

if receipt then
  -- @include receipt
  local answered = replayed(call('GET', receipt), fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return 'STALE ' .. now end

for i = 1, counters do
  local amount, expiry = ARGV[1 + 2 * i], tonumber(ARGV[2 + 2 * i])
  if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return problem('INVALID', 'amount ' .. i) end
  if not (expiry and expiry >= 1 and expiry <= 9e15) then return problem('INVALID', 'expiry ' .. i) end
end
-- A single counter needs no look ahead: when its INCRBY fails nothing has been written.
if counters > 1 then
  -- @include integer
  local texts = call('MGET', unpack(KEYS, 1, counters))
  for i = 1, counters do
    local key, text, amount = KEYS[i], texts[i], ARGV[1 + 2 * i]
    -- MGET passes over a key of another type as if it were not there.
    if not text and call('EXISTS', key) == 0 then text = '0' end
    if text ~= '0' and not (text and find(text, '^-?[1-9]%d*$')) then
      return problem('CORRUPT', key .. ' does not hold an integer')
    end
    if (#text > 14 or #amount > 14) and not wide_add(text, amount, '') then
      if not wide_add(text, '0', '') then return problem('CORRUPT', key .. ' does not hold a 64-bit integer') end
      return problem('OVERFLOW', key .. ' would leave the 64-bit range')
    end
  end
end

local reply = 'OK'
for i = 1, counters do
  local key, amount = KEYS[i], ARGV[1 + 2 * i]
  local used = redis.pcall('INCRBY', key, amount)
  if type(used) == 'table' then
    if find(used.err, 'overflow', 1, true) then return problem('OVERFLOW', key .. ' would leave the 64-bit range') end
    return problem('CORRUPT', key .. ' does not hold an integer')
  end
  local first = used == amount + 0
  if first or touch ~= '' then
    -- @include expiry
    expire(key, ARGV[2 + 2 * i], first, now_ms)
  end
  -- '%d' and not `..` alone, which writes every number as one that may have a fraction: 7 % of a charge.
  reply = reply .. ' ' .. (used < 1e14 and used > -1e14 and string.format('%d', used) or call('GET', key))
end
if receipt then call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms) end
return reply
