-- Errors are returned, not raised: a server would add the script's SHA-1 and line to a raised one.
local function problem(code, text)
  return redis.error_reply('COSTGUARD_' .. code .. ' ' .. text .. '; nothing was changed')
end
