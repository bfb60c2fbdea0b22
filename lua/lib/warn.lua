-- A mark beside a counter: the next amount that is worth a warning, '-' when all were reached. So each is reported once a
-- window, by whoever reaches it, and as long as none is one comparison tells. `reached` is what is used and held, a number or
-- a text when it is long; `warnings` are amounts in rising order, '50,80'.
-- Gives the highest that was reached just now, nil for none, and the mark to write, nil when it stays.
local function warn(mark, reached, warnings)
  -- @include integer
  local function below(amount)
    if type(reached) == 'number' then return reached < amount + 0 end
    local _, less = wide_add(reached, '1', amount)
    return less
  end
  if mark and (mark == '-' or below(mark)) then return nil, nil end
  local crossed, next_mark
  for amount in string.gmatch(warnings, '%d+') do
    if below(amount) then
      next_mark = next_mark or amount
    elseif not mark or mark == amount or select(2, wide_add(mark, '0', amount)) then
      crossed = amount
    end
  end
  return crossed, next_mark or '-'
end
