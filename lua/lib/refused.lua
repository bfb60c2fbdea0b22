-- What to answer when a server did not change `key` by an amount: that the number would not fit, that the key does not hold
-- `what` it should, or what it said itself where the key is not at fault. A server before Redis 7 refuses the first write of a
-- script (no memory, a replica) where later ones refuse the script.
local function refused(failed, key, what)
  local err, find = failed.err, string.find
  if find(err, 'overflow', 1, true) then return redis.error_reply('COSTGUARD_OVERFLOW ' .. key .. ' would leave the 64-bit range') end
  if find(err, 'integer', 1, true) or find(err, 'WRONGTYPE', 1, true) then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold ' .. what)
  end
  return failed
end
