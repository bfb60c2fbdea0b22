-- The Lua side of one shard's VM: what Redis puts around a script, and the way in and out.
-- In: one table of functions written in Rust. Out: a function that makes the way in for a number of keys.
local native = ...
local call, try, failure_text, script_line = native.call, native.try, native.failure_text, native.script_line
local compile, concat, unpack = loadstring, table.concat, unpack
local type, tostring, select = type, tostring, select
local raw_pcall, raw_xpcall, raw_error = pcall, xpcall, error
local globals = _G

-- Redis gives a script no files, no bytecode, no environments. Random numbers would differ from a server's.
for _, name in ipairs({
  'collectgarbage', 'dofile', 'gcinfo', 'getfenv', 'load', 'loadfile', 'loadstring', 'module', 'newproxy', 'print',
  'require', 'setfenv',
}) do
  globals[name] = nil
end
string.dump, math.random, math.randomseed = nil, nil, nil

-- What a failure looks like to a script's own handler: a table for a command's refusal, else what was raised.
local function as_raised(failure)
  if type(failure) == 'userdata' then
    return { err = failure_text(failure) }
  end
  return failure
end

-- A script's `pcall` sees the text of a refusal, not its table (script_lua.c, luaRedisPcall).
local function caught(ok, failure, ...)
  if ok then
    return ok, failure, ...
  end
  failure = as_raised(failure)
  if type(failure) == 'table' and type(failure.err) == 'string' then
    failure = failure.err
  end
  return false, failure
end

function globals.pcall(...)
  return caught(raw_pcall(...))
end

function globals.xpcall(body, handler)
  return raw_xpcall(body, function(failure)
    return handler(as_raised(failure))
  end)
end

-- Redis keeps the first word as the code when there is more than one; a leading '-' is not part of it.
local function error_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then
    return { err = 'ERR wrong number or type of arguments' }
  end
  if text:sub(1, 1) == '-' then
    text = text:sub(2)
  end
  if not text:find(' ', 1, true) then
    text = 'ERR ' .. text
  end
  return { err = text }
end

globals.redis = {
  call = call,
  pcall = try,
  error_reply = error_reply,
}
globals.KEYS, globals.ARGV = {}, {}

setmetatable(globals, {
  __index = function(_, name)
    raw_error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function()
    raw_error('Attempt to modify a readonly table', 2)
  end,
})

local line

-- Runs where the failure happened, while the stack still knows the script's line.
local function on_failure(failure)
  line = script_line()
  failure = as_raised(failure)
  if type(failure) == 'table' then
    return failure
  end
  return { err = 'ERR ' .. tostring(failure) }
end

-- Gives the reply; or an error's text, `true`, and the script's line where it is known.
local function run(script)
  local ok, reply = raw_xpcall(script, on_failure)
  if ok then
    return reply
  end
  return reply.err, true, line
end

-- Lua 5.1 allows 200 local names in a function; Redis scripts with so many keys take a slower way.
local MOST_NAMED = 150

-- The way in for scripts with so many keys. One crossing brings all, and naming the keys tells them from ARGV for free.
return function(key_count)
  if key_count > MOST_NAMED then
    return function(script, ...)
      local all = { ... }
      globals.KEYS, globals.ARGV = { unpack(all, 1, key_count) }, { unpack(all, key_count + 1) }
      return run(script)
    end
  end
  local names = { 'script' }
  for at = 1, key_count do
    names[at + 1] = 'key' .. at
  end
  local text = 'local globals, run = ... return function(' .. concat(names, ', ') .. ', ...) globals.KEYS, globals.ARGV = { '
    .. concat(names, ', ', 2) .. ' }, { ... } return run(script) end'
  return compile(text, '=prelude')(globals, run)
end
