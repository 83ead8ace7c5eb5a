
-- Answer now, the place up to which events were taken away and the last stamp (each empty for none), and at most limit
-- entries of the log of events after a place.
-- place limit
local function events(keys, args)
  local prefix, now = prefix_of(keys), milliseconds(redis.call('TIME'))
  local entries = redis.call('XRANGE', prefix .. 'ev', '(' .. args[1], '+', 'COUNT', args[2])
  return {now, redis.call('GET', prefix .. 'et') or '', redis.call('GET', keys[1]) or '', entries}
end

-- Take away the oldest events beyond keep, at most so many; answer how many.
-- keep most
local function trim_events(keys, args)
  local prefix = prefix_of(keys)
  local key, length = prefix .. 'ev', redis.call('XLEN', prefix .. 'ev')
  local count = math.min(length - tonumber(args[1]), tonumber(args[2]))
  if count <= 0 then return 0 end
  local gone = redis.call('XRANGE', key, '-', '+', 'COUNT', count)
  redis.call('SET', prefix .. 'et', gone[count][1])
  redis.call('XTRIM', key, 'MAXLEN', length - count)
  return count
end

redis.register_function{function_name = 'session_tokens_events_v1', callback = events, flags = {'no-writes'}}
redis.register_function{function_name = 'session_tokens_trim_events_v1', callback = trim_events, flags = {'allow-oom'}}
