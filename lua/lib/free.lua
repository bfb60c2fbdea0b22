-- Ends a hold beside its counters: takes its amount out of the bucket it lies in, or nothing when that has ended and was
-- discounted. `kept` is what the buckets hold, `held` the totals, by position.
local function look_held(holds, count, bucket_ms)
  local kept = {}
  for i = 1, count do
    local text = redis.call('HGET', KEYS[holds + i], bucket_ms)
    if text and not string.find(text, '^%d+$') then
      return nil, problem('CORRUPT', KEYS[holds + i] .. ' does not hold amounts by time')
    end
    kept[i] = text
  end
  return kept
end

local function free_held(held, holds, i, bucket_ms, amount, kept, total)
  -- Equal lengths compare as text; all are canonical.
  if not kept or not total or #kept < #amount or #total < #amount then return end
  if (#kept == #amount and kept < amount) or (#total == #amount and total < amount) then return end
  if kept == amount then
    redis.call('HDEL', KEYS[holds + i], bucket_ms)
  else
    redis.call('HINCRBY', KEYS[holds + i], bucket_ms, '-' .. amount)
  end
  redis.call('DECRBY', KEYS[held + i], amount)
end
