#!lua
-- cache_tag: reads the generation of a tag, or begins one, and lets it live at least for a TTL.
-- KEYS    tag
-- ARGV    fresh, ttl_ms
-- REPLY   OK generation
-- ERRORS  CORRUPT INVALID
-- COST    a GET, a PSETEX or a PTTL and a PEXPIRE

-- A generation never comes twice, so a tag that was removed has invalidated all that carries it, for good.

local call, find = redis.call, string.find
local tag, fresh, ttl_ms = KEYS[1], ARGV[1], ARGV[2]
if not find(fresh, '^%w+$') then return redis.error_reply('COSTGUARD_INVALID generation') end
if not find(ttl_ms, '^[1-9]%d*$') or #ttl_ms > 15 then return redis.error_reply('COSTGUARD_INVALID ttl_ms') end
local generation = call('GET', tag)
if not generation then
  call('PSETEX', tag, ttl_ms, fresh)
  return 'OK ' .. fresh
end
if not find(generation, '^%w+$') then return redis.error_reply('COSTGUARD_CORRUPT ' .. tag .. ' does not hold a generation') end
if call('PTTL', tag) < ttl_ms + 0 then call('PEXPIRE', tag, ttl_ms) end
return 'OK ' .. generation
