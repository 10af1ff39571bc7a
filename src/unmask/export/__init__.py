"""Export trained models to files that run elsewhere: ONNX, PyTorch's exported programs, and safetensors."""
