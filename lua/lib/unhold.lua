-- Takes the amounts of a hold out of its bucket and out of the totals held, a counter each; `held`, `holds` and `amounts`
-- are the places before the first in KEYS and ARGV. A bucket that has ended and was discounted is gone, then nothing is
-- taken. When a key is not what it should be, all is put back and the error is given.
local function unhold(held, holds, amounts, count, bucket_ms)
  local call, try, number, amount, minus = redis.call, redis.pcall, tonumber, nil, nil
  local done, taken, lost, bad, failed, what = 0, { nil, nil, nil, nil }, nil, nil, nil, nil
  for i = 1, count do
    local held_key, holds_key, given = KEYS[held + i], KEYS[holds + i], ARGV[amounts + i]
    -- '-0' is no integer to a server.
    if given ~= amount then amount, minus = given, given == '0' and '0' or '-' .. given end
    local left = try('HINCRBY', holds_key, bucket_ms, minus)
    if not number(left) then
      bad, failed, what = holds_key, left, 'amounts by time'
      break
    end
    taken[i] = left >= 0
    if taken[i] then
      local total = try('DECRBY', held_key, amount)
      if not number(total) then
        call('HINCRBY', holds_key, bucket_ms, amount)
        if amount == '0' and left == 0 then call('HDEL', holds_key, bucket_ms) end
        bad, failed, what = held_key, total, 'an amount'
        break
      end
      -- A total that is less than its buckets was lost with an evicted key. One of nothing is made by taking nothing.
      if total < 0 or (total == 0 and amount == '0') then
        lost = lost or {}
        lost[#lost + 1] = held_key
      end
    else
      left = call('HINCRBY', holds_key, bucket_ms, amount)
    end
    if left == 0 then call('HDEL', holds_key, bucket_ms) end
    done = i
  end
  if not bad then
    if lost then call('DEL', unpack(lost)) end
    return nil
  end
  for i = 1, done do
    local amount = ARGV[amounts + i]
    if taken[i] then
      if amount ~= '0' then call('HINCRBY', KEYS[holds + i], bucket_ms, amount) end
      local total = call('INCRBY', KEYS[held + i], amount)
      -- It was not there before.
      if total == 0 and call('PTTL', KEYS[held + i]) == -1 then call('DEL', KEYS[held + i]) end
    end
  end
  -- @include refused
  return refused(failed, bad, what)
end
