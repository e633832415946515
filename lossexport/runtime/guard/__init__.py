"""Bounds on an ONNX file; `lossexport.runtime.onnx_guard` is the way in.

`schema` is the table of the messages, `reading` checks each message as it is read, `inlining` walks
the graph as a runtime inlines it, `folding` estimates what optimisation would compute, and
`external` reads tensors from files beside the model into it.
"""
