#!lua
-- admit: adds amounts to counters if every limit allows it, to all of them or to none.
-- KEYS    counter..., [receipt]
-- ARGV    latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., [now_ms, touch, receipt_ttl_ms, fingerprint]
-- REPLY   GRANTED used...
-- REPLY   DENIED now_ms refusing used...
-- REPLY   STALE now_ms
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, one MGET, when granted an INCRBY a counter; with an id a GET and a SET

-- `limit` is empty for a counter that only counts. `refusing` names the limits that refuse by position: '1,3'.
-- A denial changes nothing and leaves no receipt: the same id may be tried again.

-- @include problem
local call, find = redis.call, string.find
local latest_start_ms, earliest_end_ms = ARGV[1], ARGV[2]
local counters, now_ms, touch, receipt_ttl_ms, fingerprint = (#ARGV - 2) / 3, '', '', '', ''
if counters ~= #KEYS then
  counters = (#ARGV - 6) / 3
  now_ms, touch, receipt_ttl_ms, fingerprint = unpack(ARGV, #ARGV - 3)
end
local receipt = KEYS[counters + 1]

if receipt then
  -- @include receipt
  local answered = replayed(receipt, fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return { 'STALE', now } end

local texts = call('MGET', unpack(KEYS, 1, counters))
local reply, refusing, checked, adds = { 'GRANTED' }, nil, nil, nil
for i = 1, counters do
  local key, text, amount, limit = KEYS[i], texts[i], ARGV[3 * i], ARGV[2 + 3 * i]
  if amount ~= checked then
    if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return problem('INVALID', 'amount ' .. i) end
    checked, adds = amount, amount + 0
  end
  if not text or text == '0' or touch ~= '' then
    local expiry = tonumber(ARGV[1 + 3 * i])
    if not (expiry and expiry >= 1 and expiry <= 9e15) then return problem('INVALID', 'expiry ' .. i) end
    -- MGET passes over a key of another type as if it were not there.
    if not text and call('EXISTS', key) == 0 then text, texts[i] = '0', '0' end
  end
  if text ~= '0' and not (text and find(text, '^-?[1-9]%d*$')) then
    return problem('CORRUPT', key .. ' does not hold an integer')
  end

  local used, fits = text + adds, true
  if used >= 1e14 or #text > 14 or #amount > 14 then
    -- @include integer
    used, fits = wide_add(text, amount, limit)
    if not used and not wide_add(text, '0', '') then
      return problem('CORRUPT', key .. ' does not hold a 64-bit integer')
    end
    if not used then return problem('OVERFLOW', key .. ' would leave the 64-bit range') end
  elseif limit ~= '' then
    fits = used <= limit + 0
  end
  if not fits then refusing = refusing and refusing .. ',' .. i or tostring(i) end
  reply[i + 1] = used
end
if refusing then return { 'DENIED', now, refusing, unpack(texts, 1, counters) } end

for i = 1, counters do
  local key, first = KEYS[i], texts[i] == '0'
  call('INCRBY', key, ARGV[3 * i])
  if first or touch ~= '' then
    -- @include expiry
    expire(key, ARGV[1 + 3 * i], first, now_ms)
  end
end
if receipt then call('SET', receipt, fingerprint .. ' ' .. table.concat(reply, ' '), 'PX', receipt_ttl_ms) end
return reply
