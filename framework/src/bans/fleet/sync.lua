-- Exchanges the bans of one instance with those of a fleet. All times are those of the server, in microseconds.
-- KEYS: the bans by network, the networks by the version of their last change, and by the end of their entry.
-- ARGV: a random text, the epoch and the version that the instance has, the maximum number of entries, the maximum of
-- changes in the reply, how long a removal is remembered, and eight values for each change of the instance.
-- Returns the epoch and the version that the instance then has, whether more changes follow, whether these are all
-- bans, the number of changes that did not fit, and seven values for each change.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local bans, log, ends = KEYS[1], KEYS[2], KEYS[3]
local known, since = ARGV[2], tonumber(ARGV[3])
local most, most_changes, remembered = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function text(number)
  return string.format('%.0f', number)
end

-- Three fields describe the whole. If a part is missing, the rest says nothing.
local head = redis.call('HMGET', bans, '#epoch', '#version', '#forgotten')
local epoch, version, forgotten = head[1], tonumber(head[2]), tonumber(head[3])
local count = redis.call('ZCARD', log)
local is_whole = redis.call('HLEN', bans) == count + 3 and redis.call('ZCARD', ends) == count
if not epoch or not version or not forgotten or not is_whole then
  redis.call('DEL', bans, log, ends)
  epoch, version, forgotten, count = time[1] .. '.' .. time[2] .. '.' .. ARGV[1], 0, 0, 0
  redis.call('HSET', bans, '#epoch', epoch, '#version', '0', '#forgotten', '0')
end

for _, network in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now), 'LIMIT', 0, 1000)) do
  local stored = redis.call('HGET', bans, network)
  if string.sub(stored, 1, 1) == 'l' then
    forgotten = math.max(forgotten, tonumber(redis.call('ZSCORE', log, network)))
    redis.call('HSET', bans, '#forgotten', text(forgotten))
  end
  redis.call('HDEL', bans, network)
  redis.call('ZREM', log, network)
  redis.call('ZREM', ends, network)
  count = count - 1
end

local function read(stored)
  local kind, ending, began, times, origin, reason = string.match(stored, '^(%a) (%d+) (%d+) (%d+) (%S+) (.*)$')
  return kind, tonumber(ending), began, times, origin, reason
end

local refused = 0
local function put(network, ending, stored, is_new)
  if is_new and count >= most then
    refused = refused + 1
    return
  end
  count = is_new and count + 1 or count
  version = version + 1
  redis.call('HSET', bans, network, stored, '#version', text(version))
  redis.call('ZADD', log, text(version), network)
  redis.call('ZADD', ends, text(ending), network)
end

for at = 7, #ARGV, 8 do
  local change, network, left, age, times, origin, replaces, reason = unpack(ARGV, at, at + 7)
  local kind, ending
  local stored = redis.call('HGET', bans, network)
  if stored then
    kind, ending = read(stored)
  end
  if change == 'removed' then
    if kind ~= 'l' then
      local forgets = now + remembered
      put(network, forgets, string.format('l %.0f 0 0 - ', forgets), not stored)
    end
  else
    local wanted = now + tonumber(left)
    local margin = change == 'known' and 2e6 or 0 -- a file has whole seconds
    local is_later = kind ~= 'b' or wanted > ending + margin
    if (change == 'added' and (replaces == '1' or is_later)) or (change == 'known' and kind ~= 'l' and is_later) then
      local began = math.max(0, now - tonumber(age))
      put(network, wanted, string.format('b %.0f %.0f %s %s %s', wanted, began, times, origin, reason), not stored)
    end
  end
end

for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, text(math.max(remembered / 1000, 7 * 86400 * 1000)))
end

local is_all = known ~= epoch or since < forgotten or since > version
if is_all then
  since = 0
end
local changes = redis.call('ZRANGEBYSCORE', log, '(' .. text(since), '+inf', 'LIMIT', 0, most_changes + 1)
local has_more = #changes > most_changes
local last = has_more and tonumber(redis.call('ZSCORE', log, changes[most_changes])) or version
local reply = { epoch, text(last), has_more and '1' or '0', is_all and '1' or '0', text(refused) }
for at = 1, math.min(#changes, most_changes) do
  local kind, ending, began, times, origin, reason = read(redis.call('HGET', bans, changes[at]))
  for _, value in ipairs({ changes[at], kind, text(ending - now), text(now - began), times, origin, reason }) do
    reply[#reply + 1] = value
  end
end
return reply
