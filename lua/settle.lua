#!lua flags=allow-oom
-- settle: ends a hold and charges what it really came to, in full, in the windows in which it was reserved.
-- KEYS    counter..., held..., hold, holds..., [state...]
-- ARGV    counters, record, bucket_ms, expires_ms, receipt_ttl_ms, as, now_ms, held..., amount..., [reserved_us, (change, limit, span_us, how)...]
-- REPLY   SETTLED late used...
-- REPLY   REPLAY reply
-- REPLY   CHANGED record
-- ERRORS  CONFLICT CORRUPT INVALID OVERFLOW RELEASED UNKNOWN_HOLD
-- COST    GET, TIME, SET, one MGET, an INCRBY, a DECRBY and an HINCRBY a counter, and a GET and a SET a rate that changes

-- `record` is the hold's line as the caller knows it, `bucket_ms`, `expires_ms` and `held` what it says.
-- `as` is the amounts in one word, by which a repeat is told from another settlement. `late` is 1 when the hold had expired.
-- Rates took their part when the hold was reserved: `change` is by how much that was too little, and is given back when it is
-- negative.
-- allow-oom: a full server still frees what is held.

-- @include unhold
local call, find, KEYS, ARGV = redis.call, string.find, KEYS, ARGV
local count, known, bucket_ms, expires_ms, receipt_ttl_ms, as, now_ms = #ARGV[1], unpack(ARGV, 2, 7)
local hold, holds = KEYS[2 * count + 1], 2 * count + 1

local record = call('GET', hold)
if record ~= known or not find(record, '^open ') then
  -- @include record
  return not_as_known(hold, record, as)
end
if not find(as, '^%d[%d,]*$') or not find(receipt_ttl_ms, '^[1-9]%d*$') or #receipt_ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID as or receipt_ttl_ms') end
-- @include now
local states, states_made
if #ARGV > 7 + 2 * count then
  -- @include correct
  local err
  states = 3 * count + 1
  states_made, err = corrected(#KEYS - states, states, 8 + 2 * count, now_s * 1e6 + us, ARGV[8 + 2 * count] + 0)
  if err then return err end
end

local reply = now_s * 1000 + us / 1000 >= expires_ms + 0 and 'SETTLED 1' or 'SETTLED 0'
local try, number, done, made, amount, adds, err = redis.pcall, tonumber, 0, nil, nil, nil, nil
for i = 1, count do
  local counter, given = KEYS[i], ARGV[7 + count + i]
  if given ~= amount then
    if given ~= '0' and not find(given, '^[1-9]%d*$') then
      err = redis.error_reply('COSTGUARD_INVALID amount ' .. i)
      break
    end
    amount, adds = given, given + 0
  end
  local used = try('INCRBY', counter, amount)
  if not number(used) then
    -- @include refused
    err = refused(used, counter, 'an integer')
    break
  end
  -- A counter that was gone by now lives as long as what is held beside it, or as the receipt.
  if used == adds and call('PTTL', counter) == -1 then
    call('PEXPIRE', counter, string.format('%d', math.max(call('PTTL', KEYS[count + i]), receipt_ttl_ms)))
    made = made or {}
    made[i] = true
  end
  done = i
end
if count > 0 and not err then reply = reply .. ' ' .. table.concat(call('MGET', unpack(KEYS, 1, count)), ' ') end
err = err or unhold(count, holds, 7, count, bucket_ms)
if err then
  for i = 1, done do
    if call('DECRBY', KEYS[i], ARGV[7 + count + i]) == 0 and made and made[i] then call('DEL', KEYS[i]) end
  end
  return err
end
if states_made then
  -- @include correct
  write_states(states_made, states, now_ms)
end
call('SET', hold, 'settled ' .. as .. ' ' .. reply .. ' | ' .. record, 'PX', receipt_ttl_ms)
return reply
