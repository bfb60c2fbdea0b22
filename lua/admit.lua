#!lua
-- admit: adds amounts to counters and takes them from rates if every limit allows it, from all of them or from none.
-- KEYS    counter..., held..., state..., ruled, [receipt], holds..., [rules]
-- ARGV    counters, [latest_start_s, earliest_end_s, expiries], (amount, limit)..., (amount, limit, span_us, how)..., [now_ms, touch, receipt_ttl_ms, fingerprint, asked]
-- REPLY   GRANTED now_s us part shadowed (state)... used... [held...] [rulings]
-- REPLY   DENIED now_s us refusing (state)... used... [held... frees_ms...] [rulings]
-- REPLY   STALE now_s
-- REPLY   RULED now_s
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, one MGET, when granted an INCRBY a counter and a SET a rate; two HGET where holds make a limit bind, an HGETALL when some have ended; with an id a SET

-- `counters` has one letter a counter, 'ccc', and `expiries` one word (see lib/lives); windows are named only where there is
-- one. The limit is empty for a counter that only counts, and '+75' for one that only says when it would refuse, in `shadowed`.
-- `used` and `held` are from before the request. `refusing` names by position what refuses: '1,3', 0 for a block. `frees_ms` is
-- when the next holds expire and more may come free, -1 when that does not help. A denial takes nothing and leaves no receipt:
-- the same id may be tried again. What is held is left out where nothing is.
-- States are rates (lib/rate, lib/sliding, lib/log) with `how` the burst, 'sliding' or 'log', and marks of warnings (lib/warn),
-- given as (position of the counter, amounts, expiry, 'warn'). A burst says what the bucket was, '0' for empty, the others two
-- words, 'used us'. A mark says the warning that was reached, else '-'.
-- An amount may be partial (lib/part): `part` is what it came to, else '-'. Overrides and blocks: lib/ruled.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, expiries, reserving = #ARGV[1], ARGV[4], false
local amounts = count > 0 and 4 or 1
local states, now_ms, touch, receipt_ttl_ms, fingerprint, asked, receipt = (#ARGV - amounts - 2 * count) / 4, '', '', '', '', '', nil
if states % 1 ~= 0 then
  states = states - 1.25
  now_ms, touch, receipt_ttl_ms, fingerprint, asked = unpack(ARGV, #ARGV - 4)
  receipt = fingerprint ~= '' and KEYS[2 * count + states + 2]
end
local ruled = 2 * count + states + 1
local holds = receipt and ruled + 1 or ruled

local texts = call('MGET', unpack(KEYS, 1, holds))
if receipt then
  -- @include receipt
  local answered = replayed(texts[holds], fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- @include now
if count > 0 and (now_s < ARGV[2] or now_s >= ARGV[3]) then return 'STALE ' .. now_s end
local ruling, blocked = '', nil
if texts[ruled] then
  local limit_args, state_args = amounts, amounts + 2 * count
  -- @include ruled
end
-- @include decide

local reply = 'GRANTED ' .. now_s .. ' ' .. us .. ' ' .. part .. ' ' .. shadowed .. ' ' .. words
  .. (count == 0 and '' or table.concat(texts, ' ', 1, holding and 2 * count or count)) .. ruling
-- First, and only where nothing is: MGET passes over a key of another type as if it were not there.
if receipt and not call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms, 'NX') then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. receipt .. ' does not hold a receipt')
end
for i = 1, count do
  local key = KEYS[i]
  call('INCRBY', key, ARGV[amounts + 2 * i - 1])
  if lives then
    local first = texts[i] == '0'
    -- @include expiry
    if first or touch ~= '' then expire(key, lives[i], first, now_ms) end
  end
end
if states > 0 then
  -- @include take
end
return reply
