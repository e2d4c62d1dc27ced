// Of the package `ws`, as @types/ws has it, what matters here.
declare module "ws" {
  export class WebSocket {
    constructor(address: string | URL, options?: object)
    onopen: ((event: object) => void) | null
    onmessage: ((event: { data: string | Buffer }) => void) | null
    onclose: ((event: { code: number; reason: string }) => void) | null
    onerror: ((event: { message: string }) => void) | null
    send(data: string | Uint8Array, callback?: (error?: Error) => void): void
    close(code?: number, reason?: string): void
  }
  interface Buffer extends Uint8Array {}
}
