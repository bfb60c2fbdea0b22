-- An exact sliding window: when each of the last requests came, oldest first, in us and 17 bytes each. For small limits, for
-- all of it is read and written every time. Arguments and results are as in `sliding`.
local function log(text, now_us, amount, limit, span_us, forced, at_us)
  text = text or ''
  local size = #text / 17
  if size % 1 ~= 0 then return nil end
  local function time_us(place) return tonumber(string.sub(text, 17 * place - 16, 17 * place - 1)) end
  -- How many came at or before a time.
  local function until_us(us)
    local low, high = 0, size
    while low < high do
      local middle = (low + high + 1 - (low + high + 1) % 2) / 2
      local came_us = time_us(middle)
      if not came_us then return nil end
      if came_us <= us then low = middle else high = middle - 1 end
    end
    return low
  end

  local over = until_us(now_us - span_us)
  if not over then return nil end
  text, size = string.sub(text, 17 * over + 1), size - over
  local used, last_us = size, size > 0 and time_us(size) or now_us
  if not last_us then return nil end
  if used + amount > limit and not forced then
    if amount > limit then return false, used .. ' -1' end
    local frees_us = time_us(used + amount - limit)
    if not frees_us then return nil end
    return false, string.format('%d %d', used, frees_us + span_us - now_us)
  end
  -- A clock that went back leaves the order as it is.
  at_us = at_us or math.max(now_us, last_us)
  local place = until_us(at_us)
  if not place then return nil end
  -- What lands whatever the limit fills it at most.
  amount = math.min(amount, 100000 - size)
  if amount >= 0 then
    -- What is settled on top of a request that has left the window has left it, too.
    if amount > 0 and at_us + span_us > now_us then
      local added = string.rep(string.format('%016d ', at_us), amount)
      text = string.sub(text, 1, 17 * place) .. added .. string.sub(text, 17 * place + 1)
      last_us = math.max(last_us, at_us)
    end
  else
    -- The newest that had come by then: a clock that went back, or a refund of nothing in particular, names no time exactly.
    local first = math.max(0, place + amount)
    text = string.sub(text, 1, 17 * first) .. string.sub(text, 17 * place + 1)
  end
  if text == '' then return true, used .. ' 0', '', '0' end
  local empty_us = math.max(last_us + span_us - now_us, 1)
  return true, string.format('%d %d', used, empty_us), text, string.format('%d', math.min(empty_us, span_us) / 1000 + 1)
end
