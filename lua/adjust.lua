#!lua
-- adjust: corrects one counter by hand and notes the reason beside it.
-- KEYS    counter, journal, [receipt]
-- ARGV    latest_start_ms, earliest_end_ms, delta, expiry, journal_size, reason, now_ms, [receipt_ttl_ms, fingerprint]
-- REPLY   OK before after
-- REPLY   STALE now_s
-- REPLY   REPLAY reply
-- ERRORS  BELOW_ZERO CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME, GET, SET, HGET, HSET and the expiry of both; with an id a GET and a SET

-- `delta` is a signed integer, or empty to set the counter back to zero. The journal is a hash that keeps the last
-- `journal_size` corrections: field n counts them all, fields 0 up hold 'NUMBER NOW_MS BEFORE AFTER REASON'.

local call, find = redis.call, string.find
local counter, journal, receipt = KEYS[1], KEYS[2], KEYS[3]
local latest_start_ms, earliest_end_ms, delta, expiry = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local journal_size, reason, now_ms, receipt_ttl_ms, fingerprint = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9]

if receipt then
  -- @include receipt
  local answered = replayed(call('GET', receipt), fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- Windows begin and end on whole seconds, so whole seconds decide.
local now = now_ms == '' and call('TIME')[1] * 1000 or now_ms + 0
if now < latest_start_ms + 0 or now >= earliest_end_ms + 0 then return string.format('STALE %d', now / 1000) end

if delta ~= '' and delta ~= '0' and not find(delta, '^-?[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID delta') end
if not journal_size or journal_size < 1 or journal_size % 1 ~= 0 then return redis.error_reply('COSTGUARD_INVALID journal_size') end
local expires = tonumber(expiry)
if not (expires and expires >= 1 and expires <= 9e15) then return redis.error_reply('COSTGUARD_INVALID expiry') end

local before = redis.pcall('GET', counter) or '0'
if type(before) ~= 'string' or (before ~= '0' and not find(before, '^-?[1-9]%d*$')) then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. counter .. ' does not hold an integer')
end
local noted = redis.pcall('HGET', journal, 'n') or '0'
if type(noted) ~= 'string' or not find(noted, '^%d+$') or #noted > 14 then
  return redis.error_reply('COSTGUARD_CORRUPT ' .. journal .. ' is not a journal')
end
-- @include integer
if not wide_add(before, '0', '') then return redis.error_reply('COSTGUARD_CORRUPT ' .. counter .. ' does not hold a 64-bit integer') end
local after = '0'
if delta ~= '' then
  after = wide_add(before, delta, '')
  if not after then return redis.error_reply('COSTGUARD_OVERFLOW ' .. counter .. ' would leave the 64-bit range') end
  if find(after, '-', 1, true) then return redis.error_reply('COSTGUARD_BELOW_ZERO ' .. counter .. ' would fall below zero') end
end

-- @include expiry
local note = table.concat({ noted + 1, string.format('%.0f', now), before, after, reason }, ' ')
call('SET', counter, after, 'KEEPTTL')
expire(counter, expiry, false, now_ms)
call('HSET', journal, 'n', string.format('%.0f', noted + 1), string.format('%.0f', noted % journal_size), note)
expire(journal, expiry, true, now_ms)
local reply = 'OK ' .. before .. ' ' .. after
if receipt then call('SET', receipt, fingerprint .. ' ' .. reply, 'PX', receipt_ttl_ms) end
return reply
