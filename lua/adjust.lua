#!lua
-- adjust: corrects one counter by hand and notes the reason beside it.
-- KEYS    counter, journal, [receipt]
-- ARGV    latest_start_ms, earliest_end_ms, delta, expiry, journal_size, reason, now_ms, [receipt_ttl_ms, fingerprint]
-- REPLY   OK before after
-- REPLY   STALE now_ms
-- REPLY   REPLAY reply
-- ERRORS  BELOW_ZERO CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, GET, SET, HGET, HSET and the expiry of both; with an id a GET and a SET

-- `delta` is a signed integer, or empty to set the counter back to zero. The journal is a hash that keeps the last
-- `journal_size` corrections: field n counts them all, fields 0 up hold 'NUMBER NOW_MS BEFORE AFTER REASON'.

-- @include problem
local call, find = redis.call, string.find
local counter, journal, receipt = KEYS[1], KEYS[2], KEYS[3]
local latest_start_ms, earliest_end_ms, delta, expiry = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local journal_size, reason, now_ms, receipt_ttl_ms, fingerprint = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9]

if receipt then
  -- @include receipt
  local answered = replayed(receipt, fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return 'STALE ' .. now end

if delta ~= '' and delta ~= '0' and not find(delta, '^-?[1-9]%d*$') then return problem('INVALID', 'delta') end
if not journal_size or journal_size < 1 or journal_size % 1 ~= 0 then return problem('INVALID', 'journal_size') end
local expires = tonumber(expiry)
if not expires or expires < 1 or expires > 9e15 then return problem('INVALID', 'expiry') end

local before = redis.pcall('GET', counter) or '0'
if type(before) ~= 'string' or (before ~= '0' and not find(before, '^-?[1-9]%d*$')) then
  return problem('CORRUPT', counter .. ' does not hold an integer')
end
local noted = redis.pcall('HGET', journal, 'n') or '0'
if type(noted) ~= 'string' or not find(noted, '^%d+$') then return problem('CORRUPT', journal .. ' is not a journal') end
local after = '0'
if delta ~= '' then
  -- @include integer
  after = wide_add(before, delta, '')
  if not after then return problem('OVERFLOW', counter .. ' would leave the 64-bit range') end
  if find(after, '-', 1, true) then return problem('BELOW_ZERO', counter .. ' would fall below zero') end
end

-- @include expiry
local note = table.concat({ noted + 1, now, before, after, reason }, ' ')
call('SET', counter, after, 'KEEPTTL')
expire(counter, expiry, false, now_ms)
call('HSET', journal, 'n', string.format('%.0f', noted + 1), string.format('%.0f', noted % journal_size), note)
expire(journal, expiry, true, now_ms)
local reply = 'OK ' .. before .. ' ' .. after
if receipt then call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms) end
return reply
