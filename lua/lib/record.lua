-- A hold's record: 'STATE FINGERPRINT STEP NOW_S US TTL_MS BUCKET_MS TAIL', where STEP says by which requests it grew (grow);
-- when it has ended, ' | ', how, and the reply follow. Who holds the handle knows the whole line and sends it, so one
-- comparison tells whether anything has happened to the hold since. Gives the reply when it has: the answer of before to the
-- same end (`as`), the line as it is now when the hold was changed elsewhere, or an error.
local function not_as_known(key, record, as)
  if not record then
    return redis.error_reply('COSTGUARD_UNKNOWN_HOLD there is no hold ' .. key .. ': it was never made, or ended too long ago')
  end
  local state, ended_as, reply = string.match(record, '^(%l+) .* | (%S+) (.*)$')
  if not state then
    if string.find(record, '^open ') then return 'CHANGED ' .. record end
    return redis.error_reply('COSTGUARD_CORRUPT ' .. key .. ' does not hold a hold')
  end
  if ended_as == as then return 'REPLAY ' .. reply end
  if state == 'settled' and string.find(as, '^%d') then
    return redis.error_reply('COSTGUARD_CONFLICT this hold was settled with other amounts')
  end
  return redis.error_reply('COSTGUARD_' .. string.upper(state) .. ' this hold was ' .. state)
end
