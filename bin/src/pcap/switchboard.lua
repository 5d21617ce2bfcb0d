-- Shows the messages that `switchboard pcap` exports. Install it as ~/.local/lib/wireshark/plugins/switchboard.lua, or
-- load it once: wireshark -X lua_script:switchboard.lua FILE

local switchboard = Proto("switchboard", "Switchboard message")

local fields = switchboard.fields
fields.length = ProtoField.uint32("switchboard.length", "Length")
fields.text = ProtoField.string("switchboard.text", "Text")
fields.data = ProtoField.bytes("switchboard.data", "Data")

-- Control characters and bytes that are not ASCII are shown as \xHH.
local function printable(bytes)
    return (bytes:gsub("[^\32-\126]", function(byte) return string.format("\\x%02x", byte:byte()) end))
end

function switchboard.dissector(buffer, packet, tree)
    packet.cols.protocol = "SWITCHBOARD"
    local length = buffer:reported_length_remaining()
    local text = ""
    local part = tree:add(switchboard, buffer())
    part:add(fields.length, length)
    if buffer:len() > 0 then
        text = printable(buffer():raw())
        part:add(fields.text, buffer(), text)
        part:add(fields.data, buffer())
    end
    packet.cols.info = string.format("%d bytes: %s", length, text)
end
