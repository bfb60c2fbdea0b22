-- The holds beside one counter: a hash from a bucket's end in ms to the amount held until then. There are a few dozen
-- buckets at most, however many holds. Gives the sum of those that have ended and their fields; then when so much has
-- ended that `spent` and what is still held are at most `limit`: 0 for now, -1 for never. Or nil and an error.
local function read_buckets(key, now, spent, held, limit)
  local stored, gone, fields, open = redis.call('HGETALL', key), '0', {}, {}
  for i = 1, #stored, 2 do
    local bucket, amount = tonumber(stored[i]), stored[i + 1]
    if not bucket or not string.find(amount, '^%d+$') or #amount > 19 then
      return nil, problem('CORRUPT', key .. ' does not hold amounts by time')
    end
    if bucket <= now then
      gone, fields[#fields + 1] = wide_add(gone, amount, '') or held, stored[i]
    else
      open[#open + 1] = { bucket, amount }
    end
  end
  table.sort(open, function(one, other) return one[1] < other[1] end)

  spent = string.format(type(spent) == 'number' and '%.0f' or '%s', spent)
  local live = wide_add(held, '-' .. gone, '')
  -- More has ended than is held: a part of it was lost with an evicted key.
  if string.byte(live) == 45 then gone, live = held, '0' end
  local _, fits = wide_add(spent, live, limit)
  local frees_ms = 0
  for i = 1, #open do
    if fits then break end
    frees_ms, live = open[i][1], wide_add(live, '-' .. open[i][2], '')
    _, fits = wide_add(spent, live, limit)
  end
  return gone, fields, fits and frees_ms or -1
end
