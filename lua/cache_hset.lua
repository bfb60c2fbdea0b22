#!lua
-- cache_hset: sets fields of a hash and gives all of it a TTL from now on.
-- KEYS    hash
-- ARGV    ttl_ms, fields_most, (field, value)...
-- REPLY   OK added
-- ERRORS  INVALID
-- COST    an HLEN, an HSET and a PEXPIRE

local call, hash, ttl_ms, most = redis.call, KEYS[1], ARGV[1], tonumber(ARGV[2])
if not string.find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
if not most or #ARGV < 4 or #ARGV % 2 == 1 then return redis.error_reply('COSTGUARD_INVALID fields') end
-- Not exact where fields are there already: a bound, and not a quota.
if call('HLEN', hash) + (#ARGV - 2) / 2 > most then
  return redis.error_reply('COSTGUARD_INVALID a hash of the cache has at most ' .. ARGV[2] .. ' fields; make several of it')
end
local added = call('HSET', hash, unpack(ARGV, 3))
call('PEXPIRE', hash, ttl_ms)
return 'OK ' .. added
