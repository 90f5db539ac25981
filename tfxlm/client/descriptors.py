"""Message classes made from tables, in a descriptor pool of their own."""

from collections.abc import Mapping

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, wrappers_pb2

# Each field: (number, name, type). A type is a scalar, a full name, "repeated TYPE" or "map TYPE" (string keys).
# Enum types are marked with "enum "; "in ONEOF" after the name puts a field into that group.
Fields = tuple[tuple[int, str, str], ...]

# By package, then by name; a dotted name is a type nested in the one before the dot, which comes first.
Messages = Mapping[str, Mapping[str, Fields]]
Enums = Mapping[str, Mapping[str, Mapping[str, int]]]

_FieldType = descriptor_pb2.FieldDescriptorProto


def build_pool(messages: Messages, enums: Enums) -> descriptor_pool.DescriptorPool:
    """Makes a descriptor pool: protobuf's own well-known types first, then one file per package.

    Args:
        messages: fields of each message; a package may use types of those before it.
        enums: values of each enum.
    """
    pool = descriptor_pool.DescriptorPool()
    names = []
    for well_known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
        names.append(well_known.DESCRIPTOR.name)
    for package in messages:
        file = _describe(package, messages[package], enums.get(package, {}), names)
        pool.AddSerializedFile(file.SerializeToString())
        names.append(file.name)
    return pool


def _describe(
    package: str, messages: Mapping[str, Fields], enums: Mapping[str, Mapping[str, int]], dependencies: list[str]
) -> descriptor_pb2.FileDescriptorProto:
    """Builds the file descriptor of one package."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"tfxlm/{package}.proto", package=package, syntax="proto3", dependency=dependencies
    )
    described: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in messages.items():
        outer, _, inner = name.rpartition(".")
        message = described[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=name)
        described[name] = message
        for number, field_name, type_name in fields:
            _add_field(message, f"{package}.{name}", number, field_name, type_name)
    for name, values in enums.items():
        outer, _, inner = name.rpartition(".")
        enum = described[outer].enum_type.add(name=inner) if outer else file.enum_type.add(name=name)
        for value_name, value_number in values.items():
            enum.value.add(name=value_name, number=value_number)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, full_name: str, number: int, name: str, type_name: str) -> None:
    """Adds one field of a table to a message descriptor."""
    name, _, oneof = name.partition(" in ")
    field = message.field.add(name=name, number=number, label=_FieldType.LABEL_OPTIONAL)
    kind, _, rest = type_name.partition(" ")
    if kind == "map":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "", 1, "key", "string")
        _add_field(entry, "", 2, "value", rest)
        type_name = f"repeated {full_name}.{entry.name}"
        kind, _, rest = type_name.partition(" ")
    if kind == "repeated":
        field.label = _FieldType.LABEL_REPEATED
        type_name = rest
    if kind == "enum":
        field.type = _FieldType.TYPE_ENUM
        field.type_name = "." + rest
    elif "." in type_name:
        field.type = _FieldType.TYPE_MESSAGE
        field.type_name = "." + type_name
    else:
        field.type = _FieldType.Type.Value("TYPE_" + type_name.upper())
    if oneof:
        known = [group.name for group in message.oneof_decl]
        if oneof not in known:
            message.oneof_decl.add(name=oneof)
            known.append(oneof)
        field.oneof_index = known.index(oneof)
