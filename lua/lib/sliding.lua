-- A sliding window of two fixed ones: 'INDEX BEFORE CURRENT'. What the one before holds counts by the share of it that still
-- lies in the window, rounded up. Gives whether `amount` fits; 'used us', from before it: us until it fits (-1 for never)
-- or, where it does, until nothing of it is left; what it becomes; and for how long that is to be kept, in ms, '0' for not
-- at all. nil for a corrupt text. With `forced` it always fits; what is then given back, or comes on top, belongs to
-- `at_us`.
local function sliding(text, now_us, amount, limit, span_us, forced, at_us)
  local into_us = now_us % span_us
  local index, before, current, behind_us = (now_us - into_us) / span_us, 0, 0, 0
  if text then
    local stored, first, second = string.match(text, '^(%d+) (%d+) (%d+)$')
    if not stored then return nil end
    -- The clock went back: as if it stood still, until it comes there again.
    if stored + 0 > index then
      index, into_us = stored + 0, 0
      behind_us = index * span_us - now_us
    end
    if stored + 0 == index then
      before, current = first + 0, second + 0
    elseif stored + 1 == index then
      before = second + 0
    end
  end
  local share = before * (span_us - into_us)
  local used = (share + -share % span_us) / span_us + current

  if used + amount > limit and not forced then
    if amount > limit then return false, used .. ' -1' end
    local wait_us, room, fading = behind_us, limit - current - amount, before
    if room < 0 then
      wait_us, room, fading = wait_us + span_us - into_us, limit - amount, current
      into_us = 0
    end
    -- Until `fading` counts for `room` at most.
    local left_us = room * span_us
    left_us = (left_us - left_us % fading) / fading
    return false, string.format('%d %d', used, wait_us + span_us - left_us - into_us)
  end
  local back = at_us and index - (at_us - at_us % span_us) / span_us or 0
  if back <= 0 then
    current = current + amount > 0 and current + amount or 0
  elseif back == 1 then
    before = before + amount > 0 and before + amount or 0
  end
  before, current = math.min(before, 9e15 / span_us), math.min(current, 9e15 / span_us)
  local empty_us = current > 0 and 2 * span_us - into_us or before > 0 and span_us - into_us or 0
  if empty_us == 0 then return true, used .. ' 0', '', '0' end
  empty_us = empty_us + behind_us
  return true, string.format('%d %d', used, empty_us), string.format('%d %d %d', index, before, current),
    string.format('%d', empty_us / 1000 + 1)
end
