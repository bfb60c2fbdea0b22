-- Takes the amounts of a hold out of its bucket and out of the totals held, a counter each; `held`, `holds` and `amounts`
-- are the places before the first in KEYS and ARGV. A bucket that has ended and was discounted is gone, then nothing is
-- taken. When a key is not what it should be, all is put back and the error is given.
local function unhold(held, holds, amounts, count, bucket_ms)
  local call, try = redis.call, redis.pcall
  local done, taken, bad = 0, { nil, nil, nil, nil }, nil
  for i = 1, count do
    local held_key, holds_key, amount = KEYS[held + i], KEYS[holds + i], ARGV[amounts + i]
    local left = try('HINCRBY', holds_key, bucket_ms, '-' .. amount)
    if type(left) == 'table' then
      bad = holds_key
      break
    end
    taken[i] = left >= 0
    if taken[i] then
      local total = try('DECRBY', held_key, amount)
      if type(total) == 'table' then
        call('HINCRBY', holds_key, bucket_ms, amount)
        bad = held_key
        break
      end
      -- A total that is less than its buckets was lost with an evicted key.
      if total < 0 then call('DEL', held_key) end
    else
      left = call('HINCRBY', holds_key, bucket_ms, amount)
    end
    if left == 0 then call('HDEL', holds_key, bucket_ms) end
    done = i
  end
  if not bad then return nil end
  for i = 1, done do
    if taken[i] then
      call('HINCRBY', KEYS[holds + i], bucket_ms, ARGV[amounts + i])
      call('INCRBY', KEYS[held + i], ARGV[amounts + i])
    end
  end
  return problem('CORRUPT', bad .. ' is not what costguard writes')
end
