-- The holds beside one counter: a hash from a bucket's end in ms to the amount held until then. There are a few dozen
-- buckets at most, however many holds. Gives the sum of those that have ended and their fields; then when so much has
-- ended that `spent` and what is still held are at most `limit`: 0 for now, -1 for never. Or nil and an error.
local function read_buckets(key, now, spent, held, limit)
  local stored, short = redis.call('HGETALL', key), type(spent) == 'number' and #held < 15
  for i = 2, #stored, 2 do
    if not tonumber(stored[i - 1]) or not string.find(stored[i], '^%d+$') then
      return nil, problem('CORRUPT', key .. ' does not hold amounts by time')
    end
    short = short and #stored[i] < 15
  end
  -- Lua numbers where all is short, text where not; a negative text adds to either.
  local function plus(a, b)
    if short then return a + b end
    return (wide_add(a, b, ''))
  end
  local function fits(live)
    if short then return spent + live <= limit + 0 end
    local _, fit = wide_add(spent, live, limit)
    return fit
  end

  local gone, fields, open = '0', {}, {}
  for i = 1, #stored, 2 do
    local bucket_ms, amount = stored[i] + 0, stored[i + 1]
    if bucket_ms <= now then
      gone, fields[#fields + 1] = plus(gone, amount), stored[i]
    else
      open[#open + 1] = { bucket_ms, amount }
    end
  end
  if type(gone) == 'number' then gone = string.format('%.0f', gone) end
  if not short and type(spent) == 'number' then spent = string.format('%.0f', spent) end
  local live = plus(held, '-' .. gone)
  -- More has ended than is held: the total was lost with an evicted key.
  if string.byte(live) == 45 then gone, live = held, '0' end
  local fit, frees_ms = fits(live), 0
  if not fit and #open > 1 then table.sort(open, function(one, other) return one[1] < other[1] end) end
  for i = 1, fit and 0 or #open do
    live, frees_ms = plus(live, '-' .. open[i][2]), open[i][1]
    fit = fits(live)
    if fit then break end
  end
  return gone, fields, fit and frees_ms or -1
end
