-- A hold's record (reserve): 'open STEP …', where STEP says by which requests it grew (grow). When it has ended that follows
-- on 'STATE AS REPLY | ': what it became, by which end, and the answer. Who holds the handle knows the whole line and sends it,
-- so one comparison tells whether anything has happened to the hold since. Gives the reply when it has: the answer of before
-- to the same end (`as`), the line as it is now when the hold was changed elsewhere, or an error.
local function not_as_known(key, record, as)
  if not record then
    return redis.error_reply('COSTGUARD_UNKNOWN_HOLD there is no hold ' .. key .. ': it was never made, or ended too long ago')
  end
  if string.find(record, '^open ') then return 'CHANGED ' .. record end
  local state, ended_as, reply = string.match(record, '^(%l+) (%S+) (.*) | open ')
  if not state then
    return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold a hold')
  end
  if ended_as == as then return 'REPLAY ' .. reply end
  if state == 'settled' and string.find(as, '^%d') then
    return redis.error_reply('COSTGUARD_CONFLICT this hold was settled with other amounts')
  end
  return redis.error_reply('COSTGUARD_' .. string.upper(state) .. ' this hold was ' .. state)
end
