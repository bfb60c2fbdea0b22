-- Whether a command failed for what is no fault of its key. A server before Redis 7 refuses the first write of a script (no
-- memory, a replica) where later ones refuse the script; that error is handed on as it is.
local function refused(failed)
  local err, find = failed.err, string.find
  return not (find(err, 'overflow', 1, true) or find(err, 'integer', 1, true) or find(err, 'WRONGTYPE', 1, true))
end
