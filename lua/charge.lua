#!lua
-- charge: adds amounts to counters and takes them from rates, whatever their limits.
-- KEYS    counter..., state..., [receipt]
-- ARGV    latest_start_s, earliest_end_s, (amount, expiry)..., (amount, limit, span_us, how)..., [now_ms, touch, receipt_ttl_ms, fingerprint, -]
-- REPLY   OK [now_s us (state)...] used...
-- REPLY   STALE now_s
-- REPLY   REPLAY reply
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW
-- COST    TIME and an INCRBY a counter, from two counters on an MGET; a GET and a SET a rate; with an id a GET and a SET

-- `used` is from after the charge. States are as in admit.

local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local states, now_ms, touch, receipt_ttl_ms, fingerprint, receipt = (#ARGV - 2 * #KEYS - 2) / 2, '', '', '', '', nil
if states % 1 ~= 0 then
  now_ms, touch, receipt_ttl_ms, fingerprint = unpack(ARGV, #ARGV - 4)
  receipt = fingerprint ~= '' and KEYS[#KEYS] or nil
  states = states - 2.5 + (receipt and 1 or 0)
end
local count = #KEYS - states - (receipt and 1 or 0)

if receipt then
  -- @include receipt
  local answered = replayed(call('GET', receipt), fingerprint, receipt_ttl_ms)
  if answered then return answered end
end
-- @include now
if now_s < ARGV[1] or now_s >= ARGV[2] then return 'STALE ' .. now_s end

for i = 1, count do
  local amount, expiry = ARGV[1 + 2 * i], tonumber(ARGV[2 + 2 * i])
  if amount ~= '0' and not find(amount, '^[1-9]%d*$') then return redis.error_reply('COSTGUARD_INVALID amount ' .. i) end
  if not (expiry and expiry >= 1 and expiry <= 9e15) then return redis.error_reply('COSTGUARD_INVALID expiry ' .. i) end
end
-- A single counter needs no look ahead: when its INCRBY fails nothing has been written.
local texts, words, sums, keep
local part, shadowed, refusing
if count > 1 or states > 0 then
  -- @include integer
  texts, words, sums = call('MGET', unpack(KEYS, 1, count + states)), '', {}
  for i = 1, count do
    local key, text, amount = KEYS[i], texts[i], ARGV[1 + 2 * i]
    -- MGET passes over a key of another type as if it were not there.
    if not text and call('EXISTS', key) == 0 then text = '0' end
    if text ~= '0' and not (text and find(text, '^-?[1-9]%d*$')) then
      return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold an integer')
    end
    if #text > 14 or #amount > 14 or states > 0 then
      sums[i] = wide_add(text, amount, '')
      if not sums[i] then
        if not wide_add(text, '0', '') then return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold a 64-bit integer') end
        return redis.error_reply('COSTGUARD_OVERFLOW ' .. key .. ' would leave the 64-bit range')
      end
    end
  end
  if states > 0 then
    local state_keys, state_args, forced = count, 2 + 2 * count, true
    -- @include states
    -- @include take
  end
end

local reply = states > 0 and 'OK ' .. now_s .. ' ' .. us .. ' ' .. string.sub(words, 1, -2) or 'OK'
for i = 1, count do
  local key, amount = KEYS[i], ARGV[1 + 2 * i]
  local used = redis.pcall('INCRBY', key, amount)
  if type(used) == 'table' then
    -- @include refused
    return refused(used, key, 'an integer')
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
