-- GCRA: when the bucket will be empty, 'EMPTY_US' or 'EMPTY_US+REST', REST the part of a microsecond in `limit`ths where the
-- interval between two requests is no whole number. So nothing drifts. `limit` requests leak out every `span` microseconds
-- (text), and `burst` fit in, '' for as many as `limit`. It works in parts, `span` to a request, below 2^53.
-- Gives whether `amount` fits; the bucket before it, '0' when it is empty; the one after it; for how long that is to be kept,
-- in ms as text, '0' for not at all; and the parts in it. nil for a corrupt text. With `forced` it always fits, and a negative
-- amount is given back: of what was taken at `at_us`, what can still be in the bucket, of which there were `filled` parts then,
-- or at most as many as fit in.
local function rate(text, now_us, amount, limit, span, burst, forced, at_us, filled)
  local span_us, empty_us, rest, said = span + 0, now_us, 0, '0'
  local most = (burst == '' and limit or burst) * span_us
  if limit == 0 then limit, most = 1, 0 end
  if text then
    local kept_us, kept_rest = tonumber(text), 0
    if not kept_us then
      kept_us, kept_rest = string.match(text, '^(%d+)%+(%d+)$')
      if not kept_us then return nil end
    end
    -- Where the limit was another one the rest of a microsecond counts as a whole at most.
    if kept_us + 0 >= now_us then empty_us, rest, said = kept_us + 0, math.min(kept_rest, limit), text end
  end
  local parts, more = (empty_us - now_us) * limit + rest, amount * span_us
  if at_us and more < 0 then more = -math.min(-more, math.max((filled or most) - math.max(now_us - at_us, 0) * limit, 0)) end
  local fits = forced or parts + more <= most
  local before = parts
  if fits then parts = parts + more end
  if parts < 0 then
    parts = 0
  elseif parts > 9e15 then
    -- What an earlier time finds fuller than can be reckoned stays as full.
    parts = math.min(parts, math.max(before, 9e15))
  end
  rest = parts % limit
  local after_us, keep_ms = (parts - rest) / limit, nil
  text = string.format('%d', now_us + after_us)
  if rest > 0 then text = text .. string.format('+%d', rest) end
  if parts == 0 then
    keep_ms = '0'
  elseif after_us + 2000 <= span_us then
    -- A whole span is long enough, and its text is there.
    keep_ms = string.sub(span, 1, -4)
  else
    keep_ms = string.format('%d', after_us / 1000 + 2)
  end
  return fits, said, text, keep_ms, parts
end
