-- When counters end, from one word each: a time in ms, '1790000000000', or a span that every write starts anew,
-- '+86400000'; false for what is neither.
local function ends(expiries)
  local lives = {}
  for expiry in string.gmatch(expiries, '%S+') do
    local ms = tonumber(expiry)
    lives[#lives + 1] = ms and ms >= 1 and ms <= 9e15 and expiry or false
  end
  return lives
end
