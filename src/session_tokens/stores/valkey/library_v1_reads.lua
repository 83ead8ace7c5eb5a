-- Read records, buckets and listings, and what is due. The questions that a read may hold are in asks; further ones, for
-- what is held, for rights and for partitions, are added in library_v1_joint.lua, _rights.lua and _partitions.lua.

-- The name of the record that a record brings along, nil if none.
local function link_of(value)
  local line_end = string.find(value, '\n', STAMP_LENGTH + 1, true)
  if not line_end or line_end == STAMP_LENGTH + 1 then
    return nil
  end
  return string.sub(value, STAMP_LENGTH + 1, line_end - 1)
end

-- Append a record and those it brings along, over at most so many hops; false stands for what is not there.
local function chase(prefix, name, hops, answer)
  while name do
    local value = redis.call('GET', prefix .. name)
    answer[#answer + 1] = value
    if not value or hops == 0 then
      return
    end
    hops = hops - 1
    name = link_of(value)
  end
end

-- Whether an id comes after another in the order of bytes (not of the server's locale).
local function is_after(id, other)
  local length = math.min(#id, #other)
  for place = 1, length do
    local a, b = string.byte(id, place), string.byte(other, place)
    if a ~= b then
      return a > b
    end
  end
  return #id > #other
end

local function is_before(row, other)
  return row[1] < other[1] or (row[1] == other[1] and is_after(other[2], row[2]))
end

local function is_behind(row, other) return is_before(other, row) end

-- Append {score, id} of what a sorted set holds after a place, at most so many; newest: before it, the last first.
local function collect(key, score, id, limit, into, newest)
  local offset, taken = 0, 0
  local range, from, to = 'ZRANGEBYSCORE', score == '' and '-inf' or score, '+inf'
  if newest then range, from, to = 'ZREVRANGEBYSCORE', score == '' and '+inf' or score, '-inf' end
  while taken < limit do
    local rows = redis.call(range, key, from, to, 'WITHSCORES', 'LIMIT', offset, limit)
    for place = 1, #rows, 2 do
      local member, at = rows[place], rows[place + 1]
      local follows = score == '' or at ~= score or is_after(newest and id or member, newest and member or id)
      if member ~= MARK and taken < limit and follows then
        into[#into + 1] = {tonumber(at), member}
        taken = taken + 1
      end
    end
    if #rows < 2 * limit then
      return
    end
    offset = offset + limit
  end
end

local function members(key, last)
  local ids = redis.call('ZRANGE', key, 0, last or -1)
  if ids[#ids] == MARK then ids[#ids] = nil end
  return ids
end

-- Append the keys of the sorted sets that a listing draws from.
--   =name             that one
--   *name inner       for each member of name, the set inner .. member
--   +name outer inner for each member of name, each member of outer .. member, the set inner .. member
-- Of the last two, where "else most" follows and it comes to more than most: answer the key of else, to go alone.
local function draw_from(prefix, spec, now, keys)
  local words = {}
  for word in string.gmatch(string.sub(spec, 2), '%S+') do words[#words + 1] = word end
  local how, most, count = string.sub(spec, 1, 1), tonumber(words[#words]), 0
  if how == '=' then
    keys[#keys + 1] = prefix .. words[1]
  else
    local outers, outer, inner = {''}, words[1], words[2]
    if how == '+' then outers, outer, inner = members(prefix .. words[1], most), words[2], words[3] end
    count = #outers
    for _, id in ipairs(outers) do
      for _, member in ipairs(members(prefix .. outer .. id, most)) do
        keys[#keys + 1] = prefix .. inner .. member
      end
      if most and #keys > most then break end
    end
  end
  if most and math.max(count, #keys) > most then return prefix .. words[#words - 1] end
end

local asks = {}

-- c name hops: a record and those it brings along.
function asks.c(prefix, args, at, now)
  local answer = {}
  chase(prefix, args[at], tonumber(args[at + 1]), answer)
  return answer, at + 2
end

-- b bucket set kind limit: the bucket's stamp, then id and record kind .. id of the first of a set (the bucket, or one
-- that moves with it) that have one, at most limit (0: all; below 0: of the last, the last first).
function asks.b(prefix, args, at, now)
  local key, kind, limit = prefix .. args[at + 1], args[at + 2], tonumber(args[at + 3])
  local range, most = limit < 0 and 'ZREVRANGE' or 'ZRANGE', math.abs(limit)
  local answer, offset, taken = {redis.call('ZSCORE', prefix .. args[at], MARK)}, 0, 0
  repeat
    local ids = redis.call(range, key, offset, most == 0 and -1 or offset + most - 1)
    for _, id in ipairs(ids) do
      local value = id ~= MARK and (most == 0 or taken < most) and redis.call('GET', prefix .. kind .. id)
      if value then
        answer[#answer + 1] = id
        answer[#answer + 1] = value
        taken = taken + 1
      end
    end
    offset = offset + most
  until most == 0 or taken >= most or #ids < most
  return answer, at + 4
end

-- n bucket set: the bucket's stamp and how many ids a set (the bucket, or one that moves with it) holds.
function asks.n(prefix, args, at, now)
  local count = redis.call('ZCARD', prefix .. args[at + 1])
  if args[at] == args[at + 1] and count > 0 then
    count = count - 1
  end
  return {redis.call('ZSCORE', prefix .. args[at], MARK), count}, at + 2
end

-- l score id limit kind hops count source…: records kind .. member of all sources in order of (score, id), after a
-- place, at most limit (below 0: in the opposite order), each with those it brings along.
function asks.l(prefix, args, at, now)
  local score, id, limit = args[at], args[at + 1], tonumber(args[at + 2])
  local newest, comes_first = limit < 0, limit < 0 and is_behind or is_before
  limit = math.abs(limit)
  local kind, hops, count = args[at + 3], tonumber(args[at + 4]), tonumber(args[at + 5])
  local keys = {}
  for place = at + 6, at + 5 + count do
    local instead = draw_from(prefix, args[place], now, keys)
    if instead then keys = {instead} break end
  end
  local answer, most = {}, #keys > 1 and math.max(16, math.ceil(2 * limit / #keys)) or limit
  repeat -- of each set so many at once; what comes after the last one of a set that has more is left to the next turn
    local rows, horizon, last = {}, nil, nil
    for _, key in ipairs(keys) do
      local before = #rows
      collect(key, score, id, most, rows, newest)
      if #rows - before == most and not (horizon and comes_first(horizon, rows[#rows])) then horizon = rows[#rows] end
    end
    if #keys > 1 then table.sort(rows, comes_first) end
    for _, row in ipairs(rows) do
      if #answer == limit or (horizon and comes_first(horizon, row)) then break end
      if not last or row[2] ~= last[2] then
        local found = {row[2]}
        chase(prefix, kind .. row[2], hops, found)
        if found[2] then answer[#answer + 1] = found end
      end
      last = row
    end
    if last then score, id = string.format('%.0f', last[1]), last[2] end
  until not horizon or #answer == limit
  return answer, at + 6 + count
end

-- o set kind hops limit: records kind .. member of the first of a set whose score has come, as l.
function asks.o(prefix, args, at, now)
  local answer = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. args[at], '-inf', now, 'LIMIT', 0, args[at + 3])) do
    local found = {id}
    chase(prefix, args[at + 1] .. id, tonumber(args[at + 2]), found)
    if found[2] then answer[#answer + 1] = found end
  end
  return answer, at + 4
end

-- Answer now, then one answer for each question.
local function read(keys, args)
  local prefix, now = prefix_of(keys), milliseconds(redis.call('TIME'))
  local answers, at = {now}, 1
  while args[at] do
    answers[#answers + 1], at = asks[args[at]](prefix, args, at + 1, now)
  end
  return answers
end

-- Answer at most limit records that are due, each as its letter and id, longest due first; members without a record are
-- taken out, of the listings named as well.
-- A sweeper that is named takes turns: nothing is answered while another one has it; it is taken where something is due.
-- now limit sweeper turn_ms, listing…
local function due(keys, args)
  local prefix, now, limit = prefix_to_write(keys), args[1], tonumber(args[2])
  local rows, turn = {}, args[3] ~= '' and prefix .. 'sw'
  if turn and (redis.call('GET', turn) or args[3]) ~= args[3] then return {} end
  for letter in string.gmatch('sti', '.') do
    local key, before, offset = prefix .. 'du' .. letter, #rows, 0
    while #rows - before < limit do
      local found = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', offset, limit)
      for place = 1, #found, 2 do
        local id = found[place]
        if redis.call('EXISTS', prefix .. letter .. ':' .. id) == 1 then
          offset = offset + 1
          rows[#rows + 1] = {tonumber(found[place + 1]), letter .. id}
        else
          redis.call('ZREM', key, id)
          for listing = 5, #args do redis.call('ZREM', prefix .. args[listing], id) end
        end
      end
      if #found < 2 * limit then break end
    end
  end
  table.sort(rows, is_before)
  local answer = {}
  for place = 1, math.min(limit, #rows) do answer[place] = rows[place][2] end
  if turn and #answer > 0 then redis.call('SET', turn, args[3], 'PX', args[4]) end
  return answer
end

redis.register_function{function_name = 'session_tokens_read_v1', callback = read, flags = {'no-writes'}}
redis.register_function{function_name = 'session_tokens_due_v1', callback = due, flags = {'allow-oom'}}
