-- The holds beside one counter: a hash from a bucket's end in ms to the amount held until then, and the field `next`, before
-- which no bucket ends. So while nothing has ended one look tells so, however many buckets there are.
-- Holds that were settled or extended leave a `next` behind whose bucket is gone, which only `exactly` looks for.
-- Gives the sum of the buckets that have ended, nil when none has; their fields; and when the next one ends, '-1' for never.
-- Or false and an error.
local function ended_buckets(key, now, held, exactly)
  local next_ms = redis.call('HGET', key, 'next')
  if next_ms and tonumber(next_ms) and next_ms + 0 > now and not (exactly and not redis.call('HGET', key, next_ms)) then
    return nil, nil, next_ms
  end
  local stored, gone, fields, least_ms = redis.call('HGETALL', key), '0', {}, nil
  for i = 1, #stored, 2 do
    local bucket_ms, amount = tonumber(stored[i]), stored[i + 1]
    if bucket_ms and string.find(amount, '^%d+$') then
      if bucket_ms <= now then
        gone, fields[#fields + 1] = wide_add(gone, amount, '') or held, stored[i]
      elseif not least_ms or bucket_ms < least_ms + 0 then
        least_ms = stored[i]
      end
    elseif stored[i] ~= 'next' then
      return false, redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold amounts by time')
    end
  end
  -- More has ended than is held: the total was lost with an evicted key.
  local live = wide_add(held, '-' .. gone, '')
  if string.byte(live) == 45 then gone = held end
  return gone, fields, least_ms or '-1'
end
