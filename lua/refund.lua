#!lua flags=allow-oom
-- refund: gives back what was charged to counters, not below zero, and what was taken from rates.
-- KEYS    counter..., [state...], [receipt]
-- ARGV    counters, latest_start_s, earliest_end_s, amount..., (change, limit, span_us, how)..., now_ms, taken_us, receipt_ttl_ms, fingerprint
-- REPLY   OK used...
-- REPLY   STALE now_s
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID
-- COST    TIME, one MGET, a DECRBY a counter and a GET and a SET a rate; with an id a GET and a SET

-- The counters are those of the windows in which it was charged; one that is gone by now stays gone. One that comes to zero
-- stays, with its TTL: its window goes on. `change` is negative. `taken_us` says when it was taken, and the windows are those
-- of that time, without bounds; where it is empty both are those of now.

-- @include integer
-- @include correct
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, now_ms, taken_us, receipt_ttl_ms, fingerprint = #ARGV[1], unpack(ARGV, #ARGV - 3)
local states = (#ARGV - 7 - count) / 4
local receipt = KEYS[count + states + 1]

if receipt then
  -- @include receipt
  local answered = replayed(call('GET', receipt), fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- @include now
if taken_us == '' and (now_s < ARGV[2] or now_s >= ARGV[3]) then return 'STALE ' .. now_s end
local now_us = now_s * 1e6 + us
local texts, taken = count > 0 and call('MGET', unpack(KEYS, 1, count)) or {}, {}
for i = 1, count do
  local text, amount = texts[i], ARGV[3 + i]
  if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID amount ' .. i) end
  -- MGET passes over a key of another type as if it were not there.
  if not text and call('EXISTS', KEYS[i]) == 1 then return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold an integer') end
  if text and text ~= '0' and not (find(text, '^-?[1-9]%d*$') and wide_add(text, '0', '')) then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. KEYS[i] .. ' does not hold an integer')
  end
  if not wide_add(amount, '0', '') then return redis.error_reply('COSTGUARD_INVALID amount ' .. i) end
  local _, covered = wide_add(amount, '0', text or '0')
  -- What it holds at most, and nothing when that is below zero.
  if not text or find(text, '^-') then taken[i] = '0' else taken[i] = covered and amount or text end
end
local made, err = corrected(states, count, 3 + count, now_us, taken_us == '' and now_us or taken_us + 0)
if err then return err end

local reply = 'OK'
for i = 1, count do
  if taken[i] ~= '0' then call('DECRBY', KEYS[i], taken[i]) end
  reply = reply .. ' ' .. (texts[i] and wide_add(texts[i], taken[i] == '0' and '0' or '-' .. taken[i], '') or '0')
end
write_states(made, count, now_ms)
if receipt then call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms) end
return reply
