-- The part of the decision that is not about counters: rates, whose whole state is one text, and marks of warnings. Each kind
-- is one function that looks at a text and gives what it would become. It reads `state_keys` and `state_args`, the places before
-- the first state in KEYS and `texts` and in ARGV, and `sums`, what the counters come to; with `forced` nothing is refused.
local now_us = now_s * 1e6 + us
keep = { nil, nil, nil, nil }
for i = 1, states do
  local at, place = state_args + 4 * (i - 1), state_keys + i
  local key, text, amount, limit, span_us, how = KEYS[place], texts[place], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  -- MGET passes over a key of another type as if it were not there.
  if not text and call('EXISTS', key) == 1 then return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in') end
  if how == 'warn' then
    -- @include warn
    local crossed, mark = warn(text, sums[amount + 0], limit)
    words = words .. (crossed or '-') .. ' '
    if mark then texts[place], keep[i] = mark, span_us end
  else
    if amount ~= '1' and amount ~= '0' and not find(amount, '^[1-9]%d*$') then
      if forced or not find(amount, '^<%d*$') then return redis.error_reply('COSTGUARD_INVALID amount ' .. count + i) end
      -- @include part
      local err
      amount, err = fill(amount)
      if err then return err end
      part = amount
    end
    local fits, said, after, keep_ms
    if how == 'sliding' then
      -- @include sliding
      fits, said, after, keep_ms = sliding(text, now_us, amount + 0, limit + 0, span_us + 0, forced)
    elseif how == 'log' then
      -- @include log
      fits, said, after, keep_ms = log(text, now_us, amount + 0, limit + 0, span_us + 0, forced)
    else
      -- @include rate
      fits, said, after, keep_ms = rate(text, now_us, amount + 0, limit + 0, span_us, how, forced)
    end
    if fits == nil then return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold what a rate is kept in') end
    words = words .. said .. ' '
    if fits then
      texts[place], keep[i] = after, keep_ms
    elseif string.byte(limit) == 43 then
      shadowed = shadowed == '-' and tostring(count + i) or shadowed .. ',' .. count + i
    else
      refusing = refusing and refusing .. ',' .. count + i or tostring(count + i)
    end
  end
end
