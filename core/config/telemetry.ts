/**
 * ONNX Runtime keeps a file for telemetry in the home directory of its user, unless it is told not
 * to (seen with onnxruntime-node 1.30.0 on Linux). What a node serves is its operator's business
 * alone, so every process of ours that loads it is told, before it loads.
 */

export const TELEMETRY = { name: 'ORT_DISABLE_TELEMETRY', off: '1' } as const
