-- The sum of two integers given as text, as text, nil when it leaves the signed 64-bit range; then whether it is at most
-- `limit`, '' for none. A Lua number is a double and exact to 2^53 only. So the scripts add Lua numbers while they stay
-- below 1e14, which is also what `..` and table.concat print in full, and come here beyond: halves in base 1e9.
local function wide_add(a, b, limit)
  if #a < 15 and #b < 15 then
    local sum = a + b
    if sum < 1e14 and sum > -1e14 then return string.format('%.0f', sum), limit == '' or sum <= limit + 0 end
  end

  local function halves(integer)
    local digits = string.match(integer, '%d+')
    if #digits > 19 then return nil end
    local sign = string.byte(integer) == 45 and -1 or 1
    local high, low = sign * ('0' .. string.sub(digits, 1, -10)), sign * string.sub(digits, -9)
    if low < 0 then return high - 1, low + 1e9 end
    -- Plus zero, for -0 prints its sign.
    return high, low + 0
  end
  local function less(a_high, a_low, b_high, b_low)
    return a_high < b_high or (a_high == b_high and a_low < b_low)
  end
  local function in_range(high, low)
    return high and not less(high, low, -9223372037, 145224192) and not less(9223372036, 854775807, high, low)
  end

  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  if not in_range(a_high, a_low) or not in_range(b_high, b_low) then return nil end
  local high, low = a_high + b_high, a_low + b_low
  if low >= 1e9 then high, low = high + 1, low - 1e9 end
  if not in_range(high, low) then return nil end

  local fits = true
  if limit ~= '' then
    local limit_high, limit_low = halves(limit)
    fits = limit_high and not less(limit_high, limit_low, high, low)
  end
  local sign = ''
  if high < 0 then
    sign, high = '-', -high
    if low > 0 then high, low = high - 1, 1e9 - low end
  end
  if high == 0 then return string.format('%s%.0f', low > 0 and sign or '', low), fits end
  return string.format('%s%.0f%09.0f', sign, high, low), fits
end
