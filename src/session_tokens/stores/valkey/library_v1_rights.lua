
-- h hash: its fields and their values.
function asks.h(prefix, args, at, now)
  return redis.call('HGETALL', prefix .. args[at]), at + 1
end

-- Answer for each command (words; * is a key of the store) whether the user may give it. A commit that met a forbidden one
-- midway would be half a commit.
local function allowed(keys, args)
  local answers = {}
  for place, words in ipairs(args) do
    local command = {}
    for word in string.gmatch(words, '%S+') do
      command[#command + 1] = word == '*' and prefix_of(keys) .. 's:' or word
    end
    answers[place] = redis.acl_check_cmd(unpack(command)) and 1 or 0
  end
  return answers
end

redis.register_function{function_name = 'session_tokens_allowed_v1', callback = allowed, flags = {'no-writes'}}

-- What a reading by plain commands ends with. It may write and never does: a replica, which has no right to, refuses it.
local function now(keys)
  return milliseconds(redis.call('TIME'))
end

redis.register_function{function_name = 'session_tokens_now_v1', callback = now, flags = {'allow-oom'}}

-- Forget a field of a hash, in one step; to delete one field is not among the rights that are needed.
-- hash field
local function forget(keys, args)
  local key, kept = prefix_of(keys) .. args[1], {}
  local rows = redis.call('HGETALL', key)
  for place = 1, #rows, 2 do
    if rows[place] ~= args[2] then
      kept[#kept + 1] = rows[place]
      kept[#kept + 1] = rows[place + 1]
    end
  end
  redis.call('DEL', key)
  if #kept > 0 then
    redis.call('HSET', key, unpack(kept))
  end
  return #rows / 2 - #kept / 2
end

redis.register_function{function_name = 'session_tokens_forget_v1', callback = forget, flags = {'allow-oom'}}
